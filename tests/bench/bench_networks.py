"""Diffusion networks: constant cross-attention, and loading of checkpoints.

Run: ``pytest tests/bench/bench_networks.py -m bench -s``. Figures of one group were measured in one
run and may be compared; nothing is asserted of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel

from dispose_stages.models.context import GuidanceBatch
from dispose_stages.models.unet import build_unet
from dispose_stages.weights.conversion import convert_checkpoint
from tests.bench.size import size
from tests.models.tiny_networks import CONFIG as TINY_CONFIG

pytestmark = pytest.mark.bench

CONFIG: dict[str, Any] = {**TINY_CONFIG, "cross_attention_dim": 1024}
FRAMES, SIZE = size(8, 2), size((24, 16), (8, 8))
LAYERS, CHANNELS = size(75, 3), 1000  # 75 x 4 MB
RUNS = size(4, 1)

_LOAD = """
import sys, time
import torch
from pathlib import Path
from safetensors import safe_open
from dispose_stages.weights.files import open_weights
path = Path(sys.argv[1])
dtype = getattr(torch, sys.argv[3])
def memory(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
Path("/proc/self/clear_refs").write_text("5")  # forget the peak of imports
before = memory("VmRSS")
start = time.perf_counter()
if sys.argv[2] == "torch.load":
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = {key: value.to(dtype) for key, value in state.items()}
elif sys.argv[2] == "safe_open":
    with safe_open(path, framework="pt") as file:
        state = {key: file.get_tensor(key).to(dtype) for key in file.offset_keys()}
else:
    file = open_weights(path)
    state = {key: value.to(dtype) for key, value in file.tensors(set(file.shapes))}
total = sum(float(value.float().sum()) for value in state.values())
seconds = time.perf_counter() - start
print(seconds, (memory("VmHWM") - before) / 1024)
"""


@pytest.fixture(scope="module")
def inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "latents": torch.randn(2, FRAMES, 8, *SIZE, generator=generator),
        "context": torch.randn(2, 1, 1024, generator=generator),
        "ids": torch.tensor([[6.0, 127.0, 0.0]]).expand(2, 3),
    }


@pytest.mark.benchmark(group="UNet step, tiny, CPU, guidance pair")
@torch.no_grad()
def test_attending_at_every_step(benchmark: Any, inputs: dict[str, torch.Tensor]) -> None:
    """Diffusers' network: attends to the image token in every layer of every step."""
    network = UNetSpatioTemporalConditionModel(**CONFIG).eval()
    benchmark(network, inputs["latents"], 1.0, inputs["context"], inputs["ids"], return_dict=False)


@pytest.mark.benchmark(group="UNet step, tiny, CPU, guidance pair")
@torch.no_grad()
def test_constant_cross_attention(benchmark: Any, inputs: dict[str, torch.Tensor]) -> None:
    """Ours: constants per run; the time embedding is within the step."""
    network = build_unet(CONFIG).eval()
    embeddings = inputs["context"].squeeze(1)[None]
    context = network.cross_attention(embeddings, GuidanceBatch.tiles(1), "official")

    def step() -> torch.Tensor:
        time = network.time_embed(torch.tensor(1.0), inputs["ids"][:1])
        return network(inputs["latents"], time, context)

    benchmark(step)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "synthetic.pth"
    state = {f"layer{i}": torch.full((CHANNELS, CHANNELS), float(i)) for i in range(LAYERS)}
    torch.save(state, path)
    convert_checkpoint(path)
    return path


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("way", ["torch.load", "safe_open", "streaming"])
def test_loading(checkpoint: Path, way: str, dtype: str, *, cached: bool) -> None:
    """A 300 MB float32 file in a fresh process: seconds (best of 4), growth of peak RSS.

    Not cached: the file's pages are dropped first, which says nothing about network file systems.
    """
    path = checkpoint if way == "torch.load" else checkpoint.with_suffix(".safetensors")
    runs = []
    for _ in range(RUNS):
        if not cached:
            _drop(path)
        output = subprocess.run(
            [sys.executable, "-c", _LOAD, str(path), way, dtype],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        ).stdout
        runs.append(tuple(map(float, output.split())))
    size = path.stat().st_size / 2**20
    seconds, peak = min(runs)
    state = "cached" if cached else "not cached"
    sys.stdout.write(
        f"\n{way} as {dtype}, {state}: {size:.0f} MiB in {seconds:.3f} s, "
        f"peak RSS +{peak:.0f} MiB\n"
    )


def _drop(path: Path) -> None:
    """Have the system forget the pages of a file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
