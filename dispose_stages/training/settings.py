"""Settings of a training, read from ``config/train.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from dispose_stages.config_section import Section
from dispose_stages.config_text import read_config_file
from dispose_stages.errors import ConfigError
from dispose_stages.training.clips import clip_scene
from dispose_stages.training.diffusion import NoiseLevels
from dispose_stages.training.left_out import LeftOut
from dispose_stages.training.loop import Schedule
from dispose_stages.training.world.scene import Scene


class Steps(Schedule):
    """Length and speed of one step of the training, and its batches."""

    batch: int = Field(ge=1)
    """Clips per batch."""
    checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more time."""


class Clips(Section):
    """The procedural clips that everything but CMP is trained on."""

    count: int = Field(default=3000, ge=1)
    """Number of clips."""
    frames: int = Field(default=6, ge=2)
    """Per clip, the reference included; the longest tile of the sampler afterwards."""
    height: int = Field(default=192, multiple_of=64)
    """Of the images, pixels."""
    width: int = Field(default=128, multiple_of=64)
    """Of the images, pixels."""
    first_seed: int = Field(default=100_000, ge=0, lt=5_000_000)
    """Of the first clip; held-out clips have seeds from 9,000,000."""
    motley: float = Field(default=0.0, ge=0, le=1)
    """Share of the figures of which every limb has a colour of its own."""

    def scene(self, clip: int) -> Scene:
        """Of that clip."""
        return clip_scene(
            self.first_seed + clip,
            frames=self.frames,
            height=self.height,
            width=self.width,
            motley=self.motley,
        )


class TrainSettings(Section):
    """Everything a training depends on."""

    folder: Path = Path("results/train")
    """Working folder: data, states, weights."""
    bundle: Path = Path("bundles/small")
    """Where the finished bundle is written."""
    device: str = "cpu"
    """``cpu`` or ``cuda``."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """bf16: mixed precision; weights and optimiser are float32 anyway."""
    threads: int = Field(default=0, ge=0)
    """CPU threads; 0 for PyTorch's choice."""
    seed: int = Field(default=0, ge=0)
    """Of initial weights and of everything drawn during training."""
    clips: Clips = Clips()
    """Training data."""
    levels: NoiseLevels = NoiseLevels()
    """Noise levels of both diffusion stages."""
    vae: Steps
    """VAE, encoder and decoder."""
    decoder: Steps
    """VAE decoder alone, on the frozen latents."""
    decoder_squares: int = Field(default=250, ge=0)
    """Batches of squares that the decoder is trained on before it sees whole frames."""
    base: Steps
    """Stage 1: UNet and PoseNet."""
    cmp: Steps
    """Conditional motion propagation."""
    control: Steps
    """Stage 2: ControlNet, everything else frozen."""
    features: Steps
    """Extractor of diffusion features."""
    control_clips: Clips = Clips(first_seed=1_000_000, motley=0.75)
    """What features and stage 2 are trained on; seeds of their own, so that the base, whose errors
    stage 2 is to mend, has not learned them by heart."""
    left_out: LeftOut = LeftOut(alone=0.05, off=0.1)
    """What stage 2 does without, and how often."""
    flow: Literal["cmp", "true"] = "cmp"
    """Where the dense motion field of stage 2 comes from: the trained CMP, as in the pipeline, or
    the world itself, to learn whether a better field would help (in a folder of its own)."""
    judge_clips: int = Field(default=128, ge=4, multiple_of=4)
    """Held-out clips by which it is judged whether the guidance says anything."""
    sampled_clips: int = Field(default=40, ge=4, multiple_of=4)
    """Held-out clips by which the same is judged after a whole sampling."""
    quality_pairs: int = Field(default=5, ge=2)
    """Held-out pairs per table of the measurement; five is one of every movement."""


def load_settings(path: Path, **changes: Any) -> TrainSettings:
    """Read and check a settings file.

    Args:
        changes: Top-level keys that replace those of the file; None leaves them.

    Raises:
        ConfigError: It cannot be read, or a key or value is wrong.
    """
    content = read_config_file(path)
    chosen = {key: value for key, value in changes.items() if value is not None}
    try:
        return TrainSettings.model_validate({**content, **chosen})
    except ValidationError as error:
        raise ConfigError(f"{path}: {error}") from error
