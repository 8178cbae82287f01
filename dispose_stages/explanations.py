"""What each typed reason and warning means and what to do: the one place that says it.

Read by the report, ``dispose explain`` and docs/troubleshooting.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dispose_stages.errors import Reason, WarningCode


@dataclass(frozen=True, slots=True)
class Explanation:
    """For people who run the pipeline.

    Attributes:
        meaning: What is the case, a sentence or two.
        sign: How to see it.
        remedy: What to do about it; the failed units are opened again afterwards by
            ``dispose retry``.
    """

    meaning: str
    sign: str
    remedy: str


REASONS: Mapping[str, Explanation] = {
    Reason.MEDIA_MISSING: Explanation(
        "The manifest names a file that is not there, or not for the user the job runs as.",
        "`ls -l PATH` with the path of the message, as the user and on the node of the job.",
        "Correct the path (relative ones start at the manifest's folder) or put the file there; on "
        "a cluster, every node has to see it.",
    ),
    Reason.MEDIA_EMPTY: Explanation(
        "The file has no content; usually a copy or download that never finished.",
        "`ls -l PATH` shows 0 bytes.",
        "Copy or download it again.",
    ),
    Reason.MEDIA_UNREADABLE: Explanation(
        "The file cannot be opened or decoded: it is damaged, cut off, no media file at all, a "
        "folder, or not readable for this user.",
        "`ffmpeg -v error -i PATH -f null -` names the damage; `dispose manifest check` finds "
        "all such rows before a run.",
        "Copy it again, check its permissions, or make a copy that can be read: "
        "`ffmpeg -i IN OUT.mp4`. Of a video that is damaged from some frame on, the frames before "
        "it can be used with `max_frames`.",
    ),
    Reason.MEDIA_UNSUPPORTED: Explanation(
        "The file is of a kind that is not read: sound only, a codec that nothing here knows, or "
        "an image whose pixel values have no fixed range.",
        "`ffprobe PATH` lists the streams and their codecs.",
        "Convert it: `ffmpeg -i IN OUT.mp4` for a video, PNG or JPEG for an image.",
    ),
    Reason.MEDIA_TOO_LARGE: Explanation(
        "Its pictures are larger than allowed, or decoding takes more memory than allowed.",
        "`ffprobe PATH` shows width and height; the message names the limit.",
        "Scale it down (`ffmpeg -i IN -vf scale=-2:1080 OUT.mp4`), or raise "
        "`compute.decode_memory` if that is what the message names.",
    ),
    Reason.MEDIA_CRASHED: Explanation(
        "The decoder crashed on the file. It runs in a process of its own; nothing else is hurt.",
        "The log (`dispose logs RUN PAIR`) says how the decoder ended.",
        "Make a copy (`ffmpeg -i IN OUT.mp4`); be wary of a file from an unknown source.",
    ),
    Reason.MEDIA_TIMEOUT: Explanation(
        "Decoding gave no frame within `compute.decode_timeout`.",
        "`time ffmpeg -v error -i PATH -f null -` takes as long, or waits for the storage.",
        "Make a copy (`ffmpeg -i IN OUT.mp4`); where the storage is slow, raise "
        "`compute.decode_timeout`.",
    ),
    Reason.SOURCE_CHANGED: Explanation(
        "A source file changed while the run was at work on it; two versions of a file are never "
        "mixed.",
        "`ls -l --full-time PATH`: the file is younger than the beginning of the run.",
        "Let the file rest, then give the same `dispose run` again: it looks at the file anew.",
    ),
    Reason.NO_FRAMES: Explanation(
        "No frame is left to animate: the video is shorter than `start_frame` or `reference_frame` "
        "asks, or holds none.",
        "`dispose inspect RUN PAIR` shows `frames` and `fps` under `ingest_video`.",
        "Lower `start_frame` or `reference_frame` of the row, or use a longer video.",
    ),
    Reason.NO_PERSON_REFERENCE: Explanation(
        "The detector found nobody in the reference image.",
        "`dispose inspect RUN PAIR --preview DIR` draws what was found on the reference.",
        "Use a picture of one person, whole and as large as possible. To animate it all the same, "
        "as the original does: `motion.allow_no_person: true`.",
    ),
    Reason.NO_SINGLE_PERSON_FRAME: Explanation(
        "No driving frame shows exactly one person, which the default choice of the driver needs.",
        "`dispose inspect RUN PAIR --preview DIR` draws the persons of the driving frames.",
        "Choose the driver by `motion.person: largest`, `tracked` or `index:N` (for one row: "
        "`driver_person`), or use a video of one person.",
    ),
    Reason.POSE_TOO_SPARSE: Explanation(
        "Too few body keypoints of the reference are visible to fit the driver to them.",
        "`dispose inspect RUN PAIR --preview DIR` draws the keypoints of the reference.",
        "Use a picture that shows more of the person, head and hips at least.",
    ),
    Reason.ALIGNMENT_POOR: Explanation(
        "The driver cannot be fitted to the reference: the fit is far off or not to be trusted.",
        "The message gives scale or residual and its bound; the pictures of `dispose inspect "
        "RUN PAIR --preview DIR` show both poses.",
        "Use a driver whose framing is nearer to the reference's (both whole body, both upright). "
        "The bounds are `motion.max_alignment_residual`, `min_alignment_scale` and "
        "`max_alignment_scale`.",
    ),
    Reason.RETARGET_UNFIT: Explanation(
        "Reference and driver show no trunk, arm or leg that could be measured in both, so "
        "`align: proportions` has nothing to go by.",
        "`dispose inspect RUN PAIR --preview DIR` draws the keypoints of both.",
        "Use pictures that share at least one of these, or `align: official`.",
    ),
    Reason.PERSON_LOST: Explanation(
        "The chosen person is in none of the driving frames.",
        "`dispose inspect RUN PAIR --preview DIR` draws the persons of the driving frames.",
        "Look at the poses that were found (`dispose inspect RUN PAIR --preview DIR`), "
        "then change `motion.person` or the range of frames (`start_frame`, `max_frames`).",
    ),
    Reason.OUT_OF_MEMORY: Explanation(
        "Memory, of the GPU or of the host, did not suffice, not even on the thriftiest way.",
        "`peak_memory` and `peak_gpu_memory` of the attempts in `stats/<stage>/` of the run; the "
        "log names the rungs that were tried.",
        "Lower `resolution` or `tile_size` of the row, use a larger GPU, give the job more memory, "
        "or see who else uses the machine.",
    ),
    Reason.NUMERIC: Explanation(
        "The computation gave values that are not finite. Half precision overflows on some inputs.",
        "The message says which values are not finite; `dispose logs RUN PAIR` shows "
        "the log of the stage.",
        "Set `sampling.precision: fp32` (or `bf16`) and try again; if it stays, check the weights "
        "(`dispose weights check`).",
    ),
    Reason.ENCODE_FAILED: Explanation(
        "ffmpeg could not write the video.",
        "ffmpeg's own words stand in the log of `mux` (`dispose logs RUN PAIR --stage mux`).",
        "Read its words in the log of `mux`. Most often the installed ffmpeg lacks libx264 or the "
        "pixel format asked for.",
    ),
    Reason.INTERNAL: Explanation(
        "An error that this program did not foresee; the log holds its traceback.",
        "The traceback stands in the log of the stage (`dispose logs RUN PAIR`).",
        "Read the log of the stage, try once more; if it stays, report it with the traceback.",
    ),
}
"""Of every `Reason`, also by its text; a reason of another version has none."""

WARNINGS: Mapping[str, Explanation] = {
    WarningCode.NO_PERSON_REFERENCE: Explanation(
        "Nobody was found in the reference; the whole image was taken for a person, as "
        "`motion.allow_no_person` wants it.",
        "`dispose inspect RUN PAIR --preview DIR` draws what was found on the reference.",
        "Look at the result. A picture of one person, as large as possible, gives a better one.",
    ),
    WarningCode.FIT_WITHOUT_PERSON: Explanation(
        "Driving frames in which nobody was found take part in the fit that decides size and place "
        "of the figure in all frames.",
        "`dispose inspect RUN PAIR` shows `no_person_share` under `motion`.",
        "Look at the result's size and place; cut such frames off with `start_frame` and "
        "`max_frames`, or use `compat: corrected`, which leaves them out of the fit.",
    ),
    WarningCode.ALIGNED_AS_OFFICIAL: Explanation(
        "`align: proportions` was asked for, but reference and driver cannot be told from bodies "
        "of like proportions; the driver was scaled as a whole (`align: official`).",
        "`dispose inspect RUN PAIR` shows `retarget_distinct` under `motion`; with "
        "`--preview DIR` it draws both poses.",
        "Nothing, where the bodies are alike. Else use a larger, sharper reference that shows the "
        "whole body from the front. The figure that decided is `retarget_distinct` of the index.",
    ),
    WarningCode.DAMAGED_VIDEO: Explanation(
        "Frames of the driving video are missing behind those that are used or before the first "
        "that can be decoded, or the decoder patched them up: smears, grey areas, figures cut in "
        "two.",
        "`dispose inspect RUN PAIR` shows the damage among the facts of "
        "`ingest_video`; `ffmpeg -v error -i PATH -f null -` names it.",
        "Look at the result, and at the log of `ingest` for the frames; copy the file again, or "
        "use only what is whole (`start_frame`, `max_frames`).",
    ),
    WarningCode.SCENE_CUTS: Explanation(
        "The driving frames that are used belong to several scenes. The figure jumps where one "
        "goes over to the next, and one fit of size and place is made for whoever is seen in them.",
        "The column `scene_cuts` of the index has the frames of the driver at which scenes begin; "
        "so has `dispose inspect RUN PAIR` under `pose_video`.",
        "Look at the result there. To use one scene, set `start_frame` and `max_frames` of the "
        "row; `dispose manifest clips VIDEOS_DIR -o m.csv` proposes such rows for a folder.",
    ),
}
"""Of every `WarningCode`."""
