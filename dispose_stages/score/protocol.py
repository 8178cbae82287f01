"""What a score depends on, written down beside it, and what of that two tables must share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import cv2

from dispose_stages.atomic import canonical_json
from dispose_stages.score.unit import REVISION, SET_GROUPS, ScoreParams

_RESIZE = "bilinear, half-pixel centres, no antialiasing"
_RULES: Mapping[str, Mapping[str, Any]] = {
    "frames": {
        "values": "8 bits; L1, flicker, warping error and colours in [0, 1]; PSNR with peak 255",
        "flow": f"OpenCV {cv2.__version__} DIS, preset fast, half size, where consistent",
    },
    "pose": {
        "tolerance": "share of the larger side of the wanted body's box",
        "head": "nose to neck, median over the clip",
        "visible": "score above 0.3, inside the frame",
        "movement": "windows of 8 frames, 8 directions, Gaussian kernel of 0.05 body sides",
    },
    "lpips": {"values": "correct: [-1, 1]; disco: [0, 1]"},
    "fid": {"values": "[-1, 1]", "size": 299, "resize": _RESIZE, "covariance": "unbiased"},
    "fvd": {"values": "[-1, 1]", "size": 224, "resize": _RESIZE, "covariance": "unbiased"},
    "cd_fvd": {"values": "ImageNet", "size": 224, "resize": _RESIZE, "covariance": "unbiased"},
    "identity": {"face": "similarity to five points of 112 x 112, cosine to the reference"},
}


def describe(
    params: ScoreParams,
    *,
    height: int,
    width: int,
    fps: float | None,
    driver_frames: Sequence[int],
    weights: Mapping[str, str],
    inputs: Mapping[str, str],
) -> str:
    """Canonical JSON of a pair's protocol.

    ``shared`` is what two values must agree in to be compared, ``pair`` what belongs to this one.

    Args:
        height: Of the result, pixels.
        width: Of the result, pixels.
        fps: Of the delivered video; None where none is looked at.
        driver_frames: Index in the driver of the frame that each frame of the result is made from
            and compared with.
        weights: Digest of each file the networks come from.
        inputs: Digest of each thing that was compared.
    """
    settings = dict(params.plain())
    for name in ("group", "shown", "against", "reference_frame", "tile_size", "tile_overlap"):
        settings.pop(name, None)
    group = params.group
    shared = {
        "group": group,
        "revision": REVISION,
        "codec": "delivered" if params.shown == "truth" else params.shown,
        "truth": "plain" if group in SET_GROUPS else params.against,
        "truth_geometry": f"cover and centre crop of the target, {_RESIZE}",
        "pairing": "by the index of the driving frame",
        "short_side": min(height, width),
        "settings": settings,
        "weights": dict(weights),
        "rules": dict(_RULES[group]),
    }
    pair = {
        "fps": fps,
        "height": height,
        "width": width,
        "driver_frames": list(driver_frames),
        "inputs": dict(inputs),
    }
    return canonical_json({"shared": shared, "pair": pair})


def fingerprint(shared: Mapping[str, Any]) -> str:
    """Twelve digits that differ where values may not be compared."""
    return hashlib.sha256(canonical_json(shared).encode()).hexdigest()[:12]
