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
HEADER = "| figures | clips | crossings | switches of the followed | switches of anybody |"


def row(figures: int, clips: int) -> str:
    """Counts over some clips, as a line of the table."""
    crossings = followed = everybody = 0
    for seed in tqdm(range(_FRESH, _FRESH + clips), desc=f"{figures} figures"):
        clip = crossing(seed, figures)
        tracks = follow_persons(clip.frames, HEIGHT, WIDTH)
        crossings += clip.times
        followed += switches(clip, tracks[0])
        everybody += all_switches(clip, tracks)
    shares = (f"{count} ({count / crossings:.1%})" for count in (followed, everybody))
    return f"| {figures} | {clips} | {crossings} | {' | '.join(shares)} |"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.crossings", description=__doc__)
    parser.add_argument("--clips", type=int, default=150, help="per number of figures")
    options = parser.parse_args()
    lines = [row(figures, options.clips) for figures in (2, 3)]
    print("\n".join([HEADER, "|---|---|---|---|---|", *lines]))


if __name__ == "__main__":
    main()
