"""The networks of all metrics, loaded when they are first asked for."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from dispose_stages.config import Config
from dispose_stages.models.dwpose import OnnxNetwork
from dispose_stages.models.inception import Inception
from dispose_stages.models.perceptual import Lpips
from dispose_stages.models.video_decoder import VaeDecoder
from dispose_stages.models.whole_body.extraction import PoseNetworks
from dispose_stages.weights import layout
from dispose_stages.weights.fitting import DTYPES
from dispose_stages.weights.loading.dwpose import load_pose_networks, open_network
from dispose_stages.weights.loading.metrics import (
    VideoNetwork,
    load_i3d,
    load_inception,
    load_lpips,
    load_videomae,
)
from dispose_stages.weights.loading.svd import load_vae


class MetricNetworks:
    """Those that the units of a job ask for, each loaded once.

    Args:
        root: Folder of the pipeline's own checkpoints.
        threads: CPU threads of ONNX Runtime; 0 leaves the choice to it.
    """

    def __init__(self, config: Config, root: Path, *, device: str, threads: int) -> None:
        self._config = config
        self._root = root
        self._score = config.score
        self._device = device
        self._threads = threads

    @cached_property
    def pose(self) -> PoseNetworks:
        """The pipeline's own DWPose."""
        return load_pose_networks(
            self._config, self._root, device=self._device, threads=self._threads
        )

    @cached_property
    def decoder(self) -> VaeDecoder:
        """The pipeline's own decoder."""
        dtype = DTYPES[self._config.sampling.precision]
        root = self._root / layout.SVD
        return VaeDecoder(load_vae(root, dtype=dtype, device=self._device))

    @cached_property
    def lpips(self) -> Lpips:
        """The distance on its backbone."""
        path = Path(self._score.weight_files("lpips")[0])
        return load_lpips(path, self._score.lpips_backbone, device=self._device)

    @cached_property
    def inception(self) -> Inception:
        """Of FID."""
        path = Path(self._score.weight_files("fid")[0])
        return load_inception(path, device=self._device)

    @cached_property
    def i3d(self) -> VideoNetwork:
        """Of FVD."""
        return load_i3d(Path(self._score.weight_files("fvd")[0]), device=self._device)

    @cached_property
    def videomae(self) -> VideoNetwork:
        """Of CD-FVD."""
        folder = Path(self._score.weight_files("cd_fvd")[0]).parent
        return load_videomae(folder, device=self._device)

    @cached_property
    def face(self) -> OnnxNetwork:
        """From faces to embeddings."""
        return open_network(
            Path(self._score.weight_files("identity")[0]),
            device=self._device,
            allow_cpu=self._config.compute.allow_cpu,
            threads=self._threads,
            batch_size=self._score.batch_size,
        )
