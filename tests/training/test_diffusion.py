"""The denoising objective agrees with the sampler."""

from __future__ import annotations

import pytest
import torch
from diffusers import EulerDiscreteScheduler

from dispose_stages.training.diffusion import NoiseLevels, add_noise, denoising_loss
from dispose_stages.training.tiny_configs import SVD_SCHEDULER


# diffusers hands a tensor to NumPy, which is about to change how it asks for copies.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_target_takes_one_euler_step_to_the_clean_latents() -> None:
    """A network that predicts the target is read by the sampler's scheduler as the clean clip."""
    scheduler = EulerDiscreteScheduler.from_config(SVD_SCHEDULER)
    scheduler.set_timesteps(5)
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(1, 2, 4, 3, 3, generator=generator)
    noise = torch.randn(clean.shape, generator=generator)
    for index, timestep in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[index]
        noisy, level, target = add_noise(clean, sigma[None], noise)
        sample = clean + sigma * noise
        torch.testing.assert_close(scheduler.scale_model_input(sample, timestep), noisy)
        torch.testing.assert_close(timestep, level[0], check_dtype=False)
        step = scheduler.step(target, timestep, sample)
        torch.testing.assert_close(step.pred_original_sample, clean, atol=2e-3, rtol=1e-3)


def test_the_loss_of_the_target_is_zero_and_weights_choose_where_errors_count() -> None:
    """Errors where the weight is zero do not count."""
    generator = torch.Generator().manual_seed(1)
    clean, noise = torch.randn(2, 2, 3, 4, 5, 5, generator=generator).unbind()
    clean, noise = clean[:, :, :4], noise[:, :, :4]
    sigma = torch.tensor([0.5, 3.0])
    weight = torch.zeros(2, 3, 1, 5, 5)
    weight[..., 0] = 1

    _, _, target = add_noise(clean, sigma, noise)

    def with_error(noisy: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        wrong = target.clone()
        wrong[..., 1:] += 1
        return wrong

    assert float(denoising_loss(lambda *_: target, clean, weight, sigma, noise)) == 0
    assert float(denoising_loss(with_error, clean, weight, sigma, noise)) == 0
    assert float(denoising_loss(with_error, clean, 1 - weight, sigma, noise)) > 0.5


def test_noise_levels_follow_the_distribution_and_its_bounds() -> None:
    """The median is that of the log-normal, and every batch covers low and high levels."""
    levels = NoiseLevels(mean=1.0, deviation=1.6, lowest=0.01, highest=80.0)
    drawn = levels.draw(4000, torch.Generator().manual_seed(0))
    assert abs(float(drawn.median().log()) - 1.0) < 0.05
    assert float(drawn.min()) == pytest.approx(0.01)
    assert float(drawn.min()) < float(drawn.max()) <= 80.0
    few = levels.draw(4, torch.Generator().manual_seed(1)).log()
    assert (few < 1.0).sum() == 2
