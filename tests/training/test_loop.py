"""The training loop: learning, exact resumption, averaging."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dispose_stages.errors import ConfigError
from dispose_stages.training.loop import Schedule, Trainer
from dispose_stages.training.optimizer import orthogonalise


def network(width: int = 8) -> nn.Sequential:
    """A small network with fixed weights."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 2))


def trainer(net: nn.Module, folder: Path, steps: int) -> Trainer:
    """A trainer in full precision that saves every three steps."""
    schedule = Schedule(steps=steps, learning_rate=0.02, warmup=2, save_every=3, average=0.9)
    return Trainer({"net": net}, schedule, folder, mixed=False)


def loss_of(net: nn.Module, batch: int) -> dict[str, Tensor]:
    """Regression of a fixed map on data that the batch's number decides."""
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(batch))
    return {"mse": (net(x) - x[:, :2] * x[:, 2:]).square().mean()}


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    """The averaged weights fit better than the initial ones."""
    net = network(32)
    before = loss_of(net, 10_000)["mse"].item()
    trainer(net, tmp_path, 150).run(lambda batch: loss_of(net, batch))
    assert loss_of(net, 10_000)["mse"].item() < 0.5 * before


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    """Going on from a saved state gives the same bits as never having stopped."""
    whole = network()
    trainer(whole, tmp_path / "whole", 9).run(lambda batch: loss_of(whole, batch))

    def interrupted(batch: int) -> dict[str, Tensor]:
        if batch == 5:
            raise KeyboardInterrupt
        return loss_of(first, batch)

    first = network()
    with pytest.raises(KeyboardInterrupt):
        trainer(first, tmp_path / "parts", 9).run(interrupted)
    second = network()
    resumed = trainer(second, tmp_path / "parts", 9)
    assert resumed.step == 3
    resumed.run(lambda batch: loss_of(second, batch))
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    """The saved state names what it belongs to."""
    net = network()
    trainer(net, tmp_path, 3).run(lambda batch: loss_of(net, batch))
    other = nn.Sequential(nn.Linear(4, 2))
    with pytest.raises(ConfigError, match="other networks"):
        trainer(other, tmp_path, 3)


def test_a_step_without_finite_gradient_changes_nothing(tmp_path: Path) -> None:
    """One bad batch does not spoil the weights."""
    net = network()
    before = [p.clone() for p in net.parameters()]
    bad = trainer(net, tmp_path, 1)
    bad.run(lambda batch: {"nan": loss_of(net, batch)["mse"] * float("nan")})
    for a, b in zip(before, net.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("shape", [(3, 16, 40), (2, 40, 16)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, int, int]) -> None:
    """Whatever the spread of singular values was."""
    generator = torch.Generator().manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape, generator=generator)))
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.4
