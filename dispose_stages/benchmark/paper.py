"""What the DisPose paper prints (arXiv 2412.09349, Table 1), for reading beside our values."""

from __future__ import annotations

from collections.abc import Mapping

PUBLISHED: Mapping[str, float] = {
    "fid_fvd": 10.24,
    "fvd": 466.93,
    "cd_fvd": 603.27,
    "vbench_temporal_flickering": 97.73,
    "vbench_subject_consistency": 95.72,
    "vbench_background_consistency": 95.90,
    "vbench_motion_smoothness": 98.89,
    "vbench_dynamic_degree": 29.51,
    "vbench_imaging_quality": 71.33,
}
"""MimicMotion with DisPose, self-driven, TikTok sequences."""
NOTE = (
    "The paper's column is MimicMotion + DisPose; it does not state resolution, clip length, "
    "resizing or the FVD implementation, so the protocols are known to differ."
)
TIKTOK_SEQUENCES = tuple(f"{number:05d}" for number in range(335, 341))
"""The usual test set; what is used is listed in the manifest, always."""
