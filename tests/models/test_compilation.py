from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dispose_stages.errors import ConfigError
from dispose_stages.models import attention
from dispose_stages.models.compilation import REGIONS, Compilation, use_folder
from dispose_stages.models.context import GuidanceBatch
from dispose_stages.models.unet import SpatioTemporalUNet
from tests.models.tiny_networks import TIME_IDS, TIMESTEP, random, tiny_unet

# The compiler's own tracing trips over deprecations in the libraries beneath it.
pytestmark = pytest.mark.filterwarnings("ignore")


@torch.no_grad()
def predict(network: SpatioTemporalUNet, size: tuple[int, int] = (8, 8)) -> Tensor:
    latents, context = random(2, 3, 8, *size), random(1, 2, 32, seed=2)
    arranged = network.cross_attention(context, GuidanceBatch.tiles(1), "official")
    return network(latents, network.time_embed(TIMESTEP, TIME_IDS), arranged)


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Any:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("explicit", [False, True])
def test_blocks_are_whole_graphs(monkeypatch: pytest.MonkeyPatch, explicit: bool) -> None:
    """Every block traces without a break, also where it chooses the attention's backend."""
    network = tiny_unet()
    expected = predict(network)
    if explicit:
        monkeypatch.setattr(attention, "chooses", lambda _: True)
    compilation = Compilation("eager")
    compilation.add([network])
    assert torch.equal(predict(network), expected)
    assert not compilation.failure


def test_blocks_of_one_kind_and_shape_share_a_graph() -> None:
    """Fewer graphs than blocks, and none is made twice."""
    graphs = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    network = tiny_unet()
    Compilation(backend).add([network])
    predict(network)
    made = len(graphs)
    assert 0 < made < sum(isinstance(module, REGIONS) for module in network.modules())
    predict(network)
    assert len(graphs) == made


def test_a_failing_compiler_is_survived(caplog: pytest.LogCaptureFixture) -> None:
    """The plain code runs, which is said once."""

    def backend(graph: Any, _: Any) -> Any:
        raise RuntimeError("no compiler here")

    network = tiny_unet()
    expected = predict(network)
    compilation = Compilation(backend)
    compilation.add([network])
    assert torch.equal(predict(network), expected)
    assert "no compiler here" in compilation.failure
    assert sum("plain code" in line for line in caplog.messages) == 1


def test_other_errors_are_not_the_compilers() -> None:
    """Running out of memory goes on to the memory ladder."""

    def backend(graph: Any, _: Any) -> Any:
        def exhausted(*_: Any) -> Any:
            raise torch.OutOfMemoryError("fake")

        return exhausted

    network, compilation = tiny_unet(), Compilation(backend)
    compilation.add([network])
    with pytest.raises(torch.OutOfMemoryError):
        predict(network)
    assert not compilation.failure


def test_compiled_code_is_kept_in_a_folder_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made for the user alone; one that others can write is refused, as is a file."""
    for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    folder = tmp_path / "a" / "compiled"
    use_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(folder / "inductor")
    folder.chmod(0o770)
    with pytest.raises(ConfigError, match="chmod 700"):
        use_folder(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used"):
        use_folder(tmp_path / "file")
