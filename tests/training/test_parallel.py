"""Training on several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROGRAM = """
import sys
from pathlib import Path
import torch
from torch import nn
from dispose_stages.training.loop import Schedule, Trainer
from dispose_stages.training.networks import save_weights
from dispose_stages.training.parallel import joined

torch.manual_seed(0)
net = nn.ModuleDict({"all": nn.Linear(4, 4), "odd": nn.Linear(4, 4), "never": nn.Linear(4, 4)})

def loss(batch):
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(batch))
    y = net["all"](x) + (net["odd"](x) if batch % 2 else 0)
    return {"mse": (y - x.flip(1)).square().mean()}

folder = Path(sys.argv[1])
with joined("cpu"):
    schedule = Schedule(
        steps=6, learning_rate=0.02, warmup=2, save_every=2,
        accumulate=int(sys.argv[2]),
    )
    Trainer({"net": net}, schedule, folder, mixed=False).run(loss)
    save_weights(folder / "net.pt", net=net)
"""


def trained(folder: Path, count: int, accumulate: int) -> dict[str, torch.Tensor]:
    """Weights after training with `count` processes."""
    program = folder.parent / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), str(folder), str(accumulate)]
    if count > 1:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command = [*launcher, f"--nproc-per-node={count}", *command[1:]]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    weights: dict[str, torch.Tensor] = torch.load(folder / "net.pt", weights_only=True)["net"]
    return weights


def test_two_processes_train_as_one_that_accumulates(tmp_path: Path) -> None:
    """The same batches, the same mean gradients, also of parameters not used everywhere."""
    alone = trained(tmp_path / "alone", 1, 2)
    together = trained(tmp_path / "together", 2, 1)
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-4, atol=1e-5, msg=name)
    torch.manual_seed(0)
    assert not torch.equal(alone["odd.weight"], torch.nn.Linear(4, 4).weight)


def test_one_process_needs_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torchrun nothing is joined and the device stays as it was."""
    from dispose_stages.training.parallel import joined, process_count, rank

    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as device:
        assert device == "cpu"
        assert (rank(), process_count()) == (0, 1)
