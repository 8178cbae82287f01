"""What made a result, as far as it does not change from run to run."""

from __future__ import annotations

import importlib.metadata
from functools import cache

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""How the IPTC calls media that a trained network made; C2PA and platforms look for it."""
_NUMERIC_LIBRARIES = (
    "dispose-stages",
    "numpy",
    "zarr",
    "numcodecs",
    "opencv-python-headless",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "diffusers",
    "transformers",
)


@cache
def library_versions() -> dict[str, str]:
    """Installed versions of what shapes a result or its file; absent libraries are left out."""
    versions: dict[str, str] = {}
    for name in _NUMERIC_LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
