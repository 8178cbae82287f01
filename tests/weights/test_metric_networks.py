from __future__ import annotations

import pickle

import pytest
import torch
from torchmetrics.functional.image import lpips as reference

from dispose_stages.errors import WeightsError
from dispose_stages.models.inception import Inception
from dispose_stages.weights.loading.metrics import (
    heads_file,
    load_i3d,
    load_inception,
    load_lpips,
    load_videomae,
)
from tests.score.small_networks import randomise, write_i3d, write_lpips, write_videomae


class FakeTorchvision:
    """What torchmetrics asks torchvision for: the stack of a backbone's layers."""

    def __init__(self, features):
        self.features = features

    def __call__(self, *_):
        return self.features


@pytest.mark.parametrize("backbone", ["vgg", "alex"])
def test_lpips_is_that_of_torchmetrics(tmp_path, monkeypatch, backbone):
    """On the same backbone, with the shipped heads, from a file as torchvision publishes it."""
    ours = write_lpips(tmp_path / "backbone.pth", backbone)
    network = load_lpips(tmp_path / "backbone.pth", backbone, device="cpu")
    monkeypatch.setattr(reference, "_get_tv_model_features", FakeTorchvision(ours.features))
    wanted = reference._LPIPS(net=backbone, pretrained=True)
    a, b = torch.rand(2, 3, 3, 70, 66, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        expected = wanted(a, b).flatten()
        assert torch.allclose(network(a, b), expected, rtol=1e-5)
        assert network(a, a).abs().max() == 0
    assert expected.min() > 0.01


def test_heads_come_with_the_extra(monkeypatch):
    """Without it there is a remedy, not a traceback."""
    assert heads_file("vgg").is_file()
    monkeypatch.setattr("dispose_stages.weights.loading.metrics.find_spec", lambda _: None)
    with pytest.raises(WeightsError, match="extra `score`"):
        heads_file("vgg")


def test_inception_has_the_published_shape(tmp_path):
    """As many parameters as Inception-v3 without its classifier; 2048 features; loads strictly."""
    network = randomise(Inception())
    assert sum(p.numel() for p in network.parameters()) == 21_785_568
    state = {
        key: value
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")  # files of that age lack them
    }
    path = tmp_path / "inception.pth"
    torch.save(state | {"fc.weight": torch.zeros(1008, 2048)}, path)
    images = torch.rand(2, 3, 299, 299, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        features = load_inception(path, device="cpu")(images)
        assert torch.equal(features, network(images))
    assert features.shape == (2, 2048)
    assert features.std() > 0
    del state["Mixed_7c.branch_pool.conv.weight"]
    torch.save(state, path)
    with pytest.raises(WeightsError, match=r"1 missing Mixed_7c\.branch_pool"):
        load_inception(path, device="cpu")


def test_inception_leaves_padding_out_of_averages():
    """A constant stays one under the average pool, up to the border."""
    block = Inception().Mixed_5b
    assert torch.allclose(block._pool(torch.ones(1, 192, 9, 9)), torch.ones(1, 192, 9, 9))


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize(
    "load", [load_inception, load_i3d, lambda p, **k: load_lpips(p, "vgg", **k)]
)
def test_a_file_that_runs_code_is_refused(tmp_path, capsys, load):
    """Nothing of it is run."""
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"features.0.weight": Evil()}))
    with pytest.raises(WeightsError):
        load(path, device="cpu")
    assert "code ran" not in capsys.readouterr().out


@pytest.fixture
def i3d_file(tmp_path):
    path = tmp_path / "i3d_torchscript.pt"
    return path, write_i3d(path)


def test_i3d_is_read_as_torchscript(i3d_file):
    """Features, not logits; neither rescaled nor resized again."""
    path, network = i3d_file
    clips = torch.rand(2, 3, 16, 32, 32)
    with torch.inference_mode():
        wanted = network.conv(clips).mean(dim=[2, 3, 4])
        assert torch.allclose(load_i3d(path, device="cpu")(clips), wanted, atol=1e-6)


def test_a_checkpoint_is_no_torchscript(tmp_path):
    """Also a damaged archive is an error of one line."""
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pt")
    for name in ("a.pt", "nothing.pt"):
        with pytest.raises(WeightsError, match="TorchScript"):
            load_i3d(tmp_path / name, device="cpu")


class Writes(torch.nn.Module):
    """Writes a file when it is loaded."""

    def __init__(self, path: str):
        super().__init__()
        self.path = path

    @torch.jit.export
    def __getstate__(self):
        return (self.path, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]):
        self.path, self.training = state
        torch.save(torch.zeros(1), state[0])

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return clips


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_that_writes_files_is_refused(tmp_path):
    """Before it is loaded, which would run its own code for that."""
    torch.jit.script(Writes(str(tmp_path / "written"))).save(str(tmp_path / "i3d.pt"))
    with pytest.raises(WeightsError, match=r"torch\.save"):
        load_i3d(tmp_path / "i3d.pt", device="cpu")
    assert not (tmp_path / "written").exists()


def test_an_archive_without_a_directory_is_no_torchscript(tmp_path):
    """It ends as an archive does, and that is all."""
    end = (
        b"PK\5\6" + bytes(4) + b"\1\0\1\0" + (46).to_bytes(4, "little") + (54).to_bytes(4, "little")
    )
    (tmp_path / "i3d.pt").write_bytes(bytes(100) + end + bytes(2))
    with pytest.raises(WeightsError, match="TorchScript"):
        load_i3d(tmp_path / "i3d.pt", device="cpu")


def test_videomae_gives_a_mean_of_tokens(tmp_path):
    """One vector a clip, in any batch."""
    write_videomae(tmp_path)
    network = load_videomae(tmp_path, device="cpu")
    clips = torch.rand(2, 3, 16, 224, 224) * 2 - 1
    with torch.inference_mode():
        features = network(clips)
        assert torch.allclose(features[1:], network(clips[1:]), atol=1e-6)
    assert features.shape == (2, 16)
    assert (features[0] - features[1]).abs().max() > 1e-4


def test_a_folder_of_another_network_is_refused(tmp_path):
    """Named, before anything is loaded."""
    write_videomae(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"videomae"', '"clip"'))
    with pytest.raises(WeightsError, match="not 'clip'"):
        load_videomae(tmp_path, device="cpu")
    with pytest.raises(WeightsError, match=r"config\.json"):
        load_videomae(tmp_path / "nowhere", device="cpu")
