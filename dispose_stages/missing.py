"""Why a metric has no value for a pair, what that means and what to do: the one place that says it.

Read by ``dispose table``, ``dispose explain``, the report and docs/troubleshooting.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from dispose_stages.explanations import REASONS, Explanation


class Missing(StrEnum):
    """Why a metric has no value for a pair. A missing value is never zero and never dropped."""

    NO_TRUTH = "no_truth"
    TRUTH_UNREADABLE = "truth_unreadable"
    TRUTH_SHORT = "truth_short"
    TRUTH_RATE = "truth_other_rate"
    TRUTH_SHAPE = "truth_other_shape"
    ONE_FRAME = "one_frame"
    SHORT_CLIP = "short_clip"
    ONE_TILE = "one_tile"
    TOO_SMALL = "too_small"
    NO_FLOW = "no_consistent_flow"
    NO_PERSON = "no_person"
    NOT_WANTED = "not_wanted"
    ALL_WANTED = "all_wanted"
    NOT_FOUND = "not_found"
    HEAD_HIDDEN = "head_hidden"
    FACE_HIDDEN = "face_hidden"
    REFERENCE_FACE_HIDDEN = "reference_face_hidden"
    INTERPOLATED = "interpolated"
    NOT_FINITE = "not_finite"


_DRAWN = "`dispose inspect RUN PAIR --preview DIR` draws the poses that were found."
_COUNTED = "`dispose inspect RUN PAIR` shows `frames` under `mux`."

MISSING: Mapping[str, Explanation] = {
    Missing.NO_TRUTH: Explanation(
        "The row names nothing that its video could be compared with: it is cross-driven.",
        "The row has neither a `truth_video` nor a `reference_frame`.",
        "Nothing, where there is no truth. Else name the true video in the column `truth_video`; "
        "the next `dispose run` computes the scores and nothing else.",
    ),
    Missing.TRUTH_UNREADABLE: Explanation(
        "The true video is gone, cannot be decoded, or breaks off before the last frame needed.",
        "`ffmpeg -v error -i PATH -f null -` with the path of `truth_video` names the damage.",
        "Put a file there that can be read (`ffmpeg -i IN OUT.mp4`); the next `dispose run` "
        "measures against it.",
    ),
    Missing.TRUTH_SHORT: Explanation(
        "The true video ends before the last frame of the driver that was used.",
        "`ffprobe PATH` of the truth and of the driver: the truth has fewer frames.",
        "Use the whole true video, or fewer driving frames (`max_frames`).",
    ),
    Missing.TRUTH_RATE: Explanation(
        "Truth and driver are paired frame by frame, and their frame rates differ by over 1 %.",
        "`ffprobe PATH` of the truth and of the driver shows both rates.",
        "Name a truth with the driver's own frames: the file it was made from, or a copy at its "
        "rate (`ffmpeg -i IN -r RATE OUT.mp4`).",
    ),
    Missing.TRUTH_SHAPE: Explanation(
        "The shapes (width to height) of truth and driver differ by over 2 %: one of them is "
        "cropped, stretched or turned.",
        "`ffprobe PATH` of the truth and of the driver shows both sizes.",
        "Name a truth that shows the driver's whole picture; its size may differ.",
    ),
    Missing.ONE_FRAME: Explanation(
        "The video has a single frame, so nothing changes from one to the next.",
        _COUNTED,
        "Raise `max_frames`, or use a longer driver.",
    ),
    Missing.SHORT_CLIP: Explanation(
        "The video is shorter than the metric needs: 3 frames for a drift, 8 for a movement, "
        "`score.window_frames` for features of windows.",
        _COUNTED,
        "Raise `max_frames`, use a longer driver, or lower `score.window_frames` for all.",
    ),
    Missing.ONE_TILE: Explanation(
        "The sampler made the video in one tile (or every step crosses a border), so there is no "
        "seam to compare with the rest.",
        "The video has no more frames than `tile_size`.",
        "Nothing: a video without a seam cannot show one.",
    ),
    Missing.TOO_SMALL: Explanation(
        "The picture, or what of it the aligned truth covers, is smaller than the metric's window "
        "(11 pixels; 176 for MS-SSIM).",
        "`dispose inspect RUN PAIR` shows `height` and `width` under `mux`.",
        "Raise `resolution`; of values in columns `_aligned`, look at the alignment first.",
    ),
    Missing.NO_FLOW: Explanation(
        "Between no two frames do optical flow there and back agree anywhere, or the picture is "
        "too small for a flow (32 pixels).",
        "Look at the video: every frame shows something else.",
        "Nothing for this metric; the video is noise or a series of cuts.",
    ),
    Missing.NO_PERSON: Explanation(
        "The detector finds nobody in any frame of the result.",
        _DRAWN,
        "Look at the video. If it shows a person, the picture may be too small (`resolution`); "
        "if not, the result is a failure that no pose metric can grade: see `persons_none`.",
    ),
    Missing.NOT_WANTED: Explanation(
        "The driver shows no keypoint of this part of the body inside the frame.",
        _DRAWN,
        "Nothing: what is not asked for cannot be missed.",
    ),
    Missing.ALL_WANTED: Explanation(
        "The driver shows every keypoint of this part in every frame, so none can be spurious.",
        _DRAWN,
        "Nothing: what is asked for cannot be too much.",
    ),
    Missing.NOT_FOUND: Explanation(
        "A person is found in the result, but no keypoint that the driver shows of this part.",
        _DRAWN,
        "Look at the video: the part is hidden, or too small to be found (`resolution`).",
    ),
    Missing.HEAD_HIDDEN: Explanation(
        "The driver shows nose and neck in no frame together, so there is no head to measure by.",
        _DRAWN,
        "Use the distance in pixels (`akd_body`), or a driver whose face is seen.",
    ),
    Missing.FACE_HIDDEN: Explanation(
        "No frame of the result shows eyes, nose and mouth clearly enough.",
        _DRAWN,
        "Nothing, where the driver turns away. Else raise `resolution`: small faces are not found.",
    ),
    Missing.REFERENCE_FACE_HIDDEN: Explanation(
        "The reference does not show eyes, nose and mouth clearly enough to compare faces with.",
        _DRAWN,
        "Use a reference whose face is seen, as large as possible.",
    ),
    Missing.INTERPOLATED: Explanation(
        "The video was interpolated to a rate on which not all of the frames that were made fall, "
        "and interpolated frames are not scored.",
        "`dispose inspect RUN PAIR` shows `made_fps` and `fps` under `mux`.",
        "Set `score.before_codec`, which scores frames before they are interpolated; or an `fps` "
        "that is a multiple of `made_fps`.",
    ),
    Missing.NOT_FINITE: Explanation(
        "The metric's network gave a value that is no number.",
        "The other pairs have values: it is this video; no pair has one: it is the weights.",
        "Check the file of the metric's weights against its source (`sha256sum`).",
    ),
}
"""Of every reason for which a value is absent."""


def why_missing(reason: str) -> Explanation | None:
    """What the reason of an absent value means, also where its group failed as a whole."""
    return MISSING.get(reason) or REASONS.get(reason)
