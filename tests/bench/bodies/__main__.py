"""Proportions against the official fit on pairs whose truth is known.

``python -m tests.bench.bodies`` prints the tables of docs/bodies.md; ``--worst FILE`` also draws
the worst twentieth of the unlike pairs. Tuning was done on seeds below 1,000; the tables use seeds
from 100,000.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image

from tests.bench.bodies.pictures import worst_pairs
from tests.bench.bodies.table import compute, markdown

_FRESH = 100_000


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bodies", description=__doc__)
    parser.add_argument("--pairs", type=int, default=300, help="per cell")
    parser.add_argument("--first", type=int, default=_FRESH, help="seed of the first pair")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--worst", type=Path, help="picture of the worst pairs")
    options = parser.parse_args()
    results = compute(
        options.first, options.pairs, options.workers, lambda text: print(text, file=sys.stderr)
    )
    print(markdown(results))
    if options.worst:
        Image.fromarray(worst_pairs(results, options.first)).save(options.worst)


if __name__ == "__main__":
    main()
