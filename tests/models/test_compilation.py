from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dispose_stages.errors import ConfigError
from dispose_stages.models import attention
from dispose_stages.models import compilation as compilation_module
from dispose_stages.models.compilation import (
    REGIONS,
    Compilation,
    compiled_so_far,
    use_folder,
)
from dispose_stages.models.context import GuidanceBatch
from dispose_stages.models.transformer import SpatialLayer
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
def _fresh_compiler(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(compilation_module, "_of_this_process", [])
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


def failing(error: Exception) -> Callable[[Any, Any], Any]:
    """A backend whose graphs compile and do not run."""

    def backend(graph: Any, _: Any) -> Any:
        def run(*_: Any) -> Any:
            raise error

        return run

    return backend


def test_compiled_code_that_does_not_run_is_survived(caplog: pytest.LogCaptureFixture) -> None:
    """As where a layout is not what the compiler thought, which it finds only then."""
    network = tiny_unet()
    expected = predict(network)
    compilation = Compilation(failing(RuntimeError("Expected X.is_contiguous(memory_format)")))
    compilation.add([network])
    assert torch.equal(predict(network), expected)
    assert "is_contiguous" in compilation.failure
    assert compiled_so_far() == compilation.failure
    assert sum("plain code" in line for line in caplog.messages) == 1


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("fake"), RuntimeError("CUDA error: unknown error")]
)
def test_other_errors_are_not_the_compilers(error: Exception) -> None:
    """Running out of memory goes on to the memory ladder, a dead GPU to the machine's faults."""
    network, compilation = tiny_unet(), Compilation(failing(error))
    compilation.add([network])
    with pytest.raises(type(error)) as caught:
        predict(network)
    assert caught.value is error
    assert not compilation.failure


def test_errors_of_the_plain_code_are_its_own() -> None:
    """What fails uncompiled too is no failure of the compiler."""
    layer = SpatialLayer(32, 2, 16).eval()
    compilation = Compilation("eager")
    compilation.add([layer])
    with pytest.raises(RuntimeError, match="shape"):
        layer(torch.zeros(4, 3, 7), torch.zeros(2, 32))
    assert not compilation.failure


def test_the_traced_operations_compute_the_same() -> None:
    """Through the compiler's front half: layouts and shapes without values are the real ones."""
    network = tiny_unet()
    expected = predict(network, (16, 16))
    compilation = Compilation("aot_eager")
    compilation.add([network])
    assert torch.equal(predict(network, (16, 16)), expected)
    assert not compilation.failure


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_compiled_blocks_compute_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transformer's layer through the whole compiler, for the CPU."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    layer = SpatialLayer(32, 2, 16).double().eval()
    hidden, context = random(4, 6, 32), random(2, 32, seed=2)
    compilation = Compilation()
    with torch.no_grad():
        expected = layer(hidden, context)
        compilation.add([layer])
        actual = layer(hidden, context)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
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
