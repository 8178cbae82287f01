"""DisPose human image animation as a staged, resumable batch pipeline.

The data flow reads from the folder names:
``manifest → pose → motion, correspondence → sample → mux → report``.

From Python, `open_run` reads a run, and the functions below work on arrays (docs/python.md). All
are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dispose_stages.geometry.colour_wheel import flow_colours as flow_colours
    from dispose_stages.geometry.dense_field import dense_field as dense_field
    from dispose_stages.geometry.drawing import draw_pose as draw_pose
    from dispose_stages.geometry.frames import cover_resize as cover_resize
    from dispose_stages.geometry.frames import sampled_frames as sampled_frames
    from dispose_stages.geometry.frames import target_size as target_size
    from dispose_stages.geometry.trajectory import trajectory_field as trajectory_field
    from dispose_stages.motion.alignment import align_pair as align_pair
    from dispose_stages.motion.alignment import fit_alignment as fit_alignment
    from dispose_stages.pose.preview import overlay_pose as overlay_pose
    from dispose_stages.reading import open_run as open_run

__version__ = "0.1.0"

_PLACES = {
    "open_run": "reading",
    "target_size": "geometry.frames",
    "cover_resize": "geometry.frames",
    "sampled_frames": "geometry.frames",
    "draw_pose": "geometry.drawing",
    "overlay_pose": "pose.preview",
    "fit_alignment": "motion.alignment",
    "align_pair": "motion.alignment",
    "trajectory_field": "geometry.trajectory",
    "dense_field": "geometry.dense_field",
    "flow_colours": "geometry.colour_wheel",
}
"""Public name to the module it lies in."""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_PLACES]
