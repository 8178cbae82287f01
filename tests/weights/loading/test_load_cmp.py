from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from dispose_stages.errors import WeightsError
from dispose_stages.models.cmp import CmpNetwork, CmpWidths
from dispose_stages.weights.loading.cmp import load_cmp
from tests.parity.families.motion import formula_cmp

SMALL = CmpWidths(
    stem=4,
    stages=(4, 4, 8, 8),
    image=8,
    sparse=4,
    branch=4,
    fusion8=8,
    skip4=4,
    fusion4=8,
    skip2=4,
    fusion2=8,
    bins=9,
)


def small() -> CmpNetwork:
    return formula_cmp(prefix="cmp.", salt="small", widths=SMALL)


def checkpoint(network: CmpNetwork, **others: Any) -> dict[str, Any]:
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    momentum = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    return {"step": 42000, "state_dict": state, "optimizer": momentum, **others}


def run(network: CmpNetwork) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, 3, 64, 64), generator=generator)
    sparse = torch.randn((3, 4, 64, 64), generator=generator)
    with torch.inference_mode():
        return network.propagate(network.encode_image(image), sparse)


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoint_round_trip(tmp_path: Path, zipped: bool) -> None:
    """Widths and weights come from the file, whichever of PyTorch's two formats it has."""
    path = tmp_path / "ckpt_iter_42000.pth.tar"
    torch.save(checkpoint(small()), path, _use_new_zipfile_serialization=zipped)
    network = load_cmp(path, device="cpu")
    assert not network.training
    assert torch.equal(run(network), run(small()))


def test_batch_counters_may_be_absent(tmp_path: Path) -> None:
    """Files of old PyTorch versions lack them."""
    content = checkpoint(small())
    content["state_dict"] = {
        k: v for k, v in content["state_dict"].items() if not k.endswith("num_batches_tracked")
    }
    torch.save(content, tmp_path / "c.tar")
    assert torch.equal(run(load_cmp(tmp_path / "c.tar", device="cpu")), run(small()))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("module.image_encoder.layer3.5.bn3.running_var", None),
        ("module.flow_decoder.fusion2.0.weight", torch.zeros(8, 11, 3, 3)),
        ("module.flow_decoder.surplus", torch.zeros(1)),
    ],
)
def test_misfit_is_named(tmp_path: Path, key: str, value: torch.Tensor | None) -> None:
    """A missing or unexpected tensor or a wrong shape is an error with its name."""
    content = checkpoint(small())
    if value is None:
        del content["state_dict"][key]
    else:
        content["state_dict"][key] = value
    torch.save(content, tmp_path / "c.tar")
    with pytest.raises(WeightsError, match=key.removeprefix("module.").replace(".", r"\.")):
        load_cmp(tmp_path / "c.tar", device="cpu")


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_code_in_a_pickle_is_refused(tmp_path: Path) -> None:
    """Whatever the file would run is not run."""
    target = tmp_path / "ran"
    torch.save(checkpoint(small(), extra=Malicious(target)), tmp_path / "c.tar")
    with pytest.raises(WeightsError, match="could run code"):
        load_cmp(tmp_path / "c.tar", device="cpu")
    assert not target.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"not a pickle"])
def test_damaged_file_is_one_error(tmp_path: Path, content: bytes) -> None:
    """Neither an empty nor a broken nor a foreign file ends in a traceback."""
    (tmp_path / "c.tar").write_bytes(content)
    with pytest.raises(WeightsError, match=r"c\.tar"):
        load_cmp(tmp_path / "c.tar", device="cpu")


@pytest.mark.parametrize("odd", [torch.Tensor.to_sparse, torch.Tensor.int, torch.Tensor.cfloat])
def test_parameters_are_plain_numbers(tmp_path: Path, odd: Any) -> None:
    """Sparse, whole and complex ones of the right shape are named, not computed with."""
    content = checkpoint(small())
    key = "module.image_encoder.conv1.weight"
    content["state_dict"][key] = odd(content["state_dict"][key])
    torch.save(content, tmp_path / "x.pth.tar")
    with pytest.raises(WeightsError, match="conv1"):
        load_cmp(tmp_path / "x.pth.tar", device="cpu")


def test_no_parameter_is_given_twice(tmp_path: Path) -> None:
    """Nobody could say which of two tensors counts."""
    content = checkpoint(small())
    content["state_dict"]["image_encoder.conv1.weight"] = torch.zeros(4, 3, 7, 7)
    torch.save(content, tmp_path / "x.pth.tar")
    with pytest.raises(WeightsError, match="two tensors"):
        load_cmp(tmp_path / "x.pth.tar", device="cpu")
