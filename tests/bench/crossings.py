"""How often persons are mistaken for one another where figures cross, leave and come back.

``python -m tests.bench.crossings`` prints the table of docs/bodies.md, over seeds that no tuning
saw.
"""

from __future__ import annotations

import argparse

from tqdm import tqdm

from dispose_stages.geometry.tracking import follow_persons
from tests.geometry.crossings import HEIGHT, WIDTH, all_switches, crossing, switches

_FRESH = 300_000
HEADER = (
    "| figures | clips | crossings | switches of the followed | at the side | switches of anybody |"
)


def row(figures: int, clips: int) -> str:
    """Counts over some clips, as a line of the table."""
    crossings = followed = beside = everybody = 0
    for seed in tqdm(range(_FRESH, _FRESH + clips), desc=f"{figures} figures"):
        clip = crossing(seed, figures)
        tracks = follow_persons(clip.frames, HEIGHT, WIDTH)
        crossings += clip.times
        followed += switches(clip, tracks[0])
        beside += switches(clip, tracks[0], side=True)
        everybody += all_switches(clip, tracks)
    share, of_all = (f"{count} ({count / crossings:.1%})" for count in (followed, everybody))
    return f"| {figures} | {clips} | {crossings} | {share} | {beside} | {of_all} |"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.crossings", description=__doc__)
    parser.add_argument("--clips", type=int, default=300, help="per number of figures")
    options = parser.parse_args()
    lines = [row(figures, options.clips) for figures in (2, 3)]
    print("\n".join([HEADER, "|---" * 6 + "|", *lines]))


if __name__ == "__main__":
    main()
