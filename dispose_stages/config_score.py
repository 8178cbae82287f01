"""The part of the configuration that is about measuring."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from dispose_stages.config_section import Section

MetricGroup = Literal["frames", "pose", "lpips", "fid", "fvd", "cd_fvd", "identity"]
Definition = Literal["correct", "disco", "disco_uint8"]


class Score(Section):
    """Measuring the delivered videos (docs/benchmark.md). Off unless groups are named."""

    metrics: tuple[MetricGroup, ...] = ()
    """Groups to compute. `frames`: all that needs no network. `pose`: keypoints, found again in the
    result. `lpips`, `fid`, `fvd`, `cd_fvd`, `identity`: with weights of your own, named below."""
    definitions: tuple[Definition, ...] = ("correct", "disco")
    """Of L1, PSNR, SSIM and LPIPS: `correct`, `disco` (DisCo's evaluator, which most papers use),
    `disco_uint8` (its PSNR before it was repaired)."""
    truth: Literal["plain", "aligned", "both"] = "plain"
    """`plain`: true frames by the reference's geometry. `aligned`: moved as the driver's pose was,
    borders masked."""
    before_codec: bool = False
    """Also score the frames as they were before H.264, decoded again from the latents."""
    lpips_backbone: Literal["vgg", "alex"] = "vgg"
    """Network of LPIPS."""
    lpips_weights: str = ""
    """Its file: `vgg16-397923af.pth` or `alexnet-owt-7be5be79.pth`. The extra `score` brings the
    linear heads."""
    fid_weights: str = ""
    """`pt_inception-2015-12-05-6726825d.pth`, as pytorch-fid publishes it."""
    fvd_weights: str = ""
    """`i3d_torchscript.pt`, as StyleGAN-V publishes it."""
    cd_fvd_weights: str = ""
    """Folder of VideoMAE as transformers saves it."""
    window_frames: int = Field(default=16, ge=2, le=256)
    """Frames per window of FVD and CD-FVD."""
    window_stride: int = Field(default=1, ge=1, le=256)
    """Frames between the beginnings of windows."""
    identity_weights: str = ""
    """ONNX network from an aligned face to an embedding."""
    identity_mean: float = 127.5
    """Subtracted from its input, values in 0 to 255."""
    identity_scale: float = Field(default=127.5, gt=0)
    """Then divided by."""
    identity_bgr: bool = False
    """Whether it takes blue, green, red."""
    batch_size: int = Field(default=8, ge=1, le=256)
    """Frames per inference; bounds memory, does not change results."""

    def weight_files(self, group: MetricGroup) -> tuple[str, ...]:
        """Absolute paths of the files of one's own that a group of metrics reads."""
        named = getattr(self, f"{group}_weights", "")
        root = Path(named).expanduser().absolute()
        if not named:
            return ()
        if group == "cd_fvd":
            return tuple(str(root / name) for name in ("config.json", "model.safetensors"))
        return (str(root),)
