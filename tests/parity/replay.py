"""Replay recorded inputs and outputs of the original code against this package.

``python -m tests.parity.replay DIR [--only GLOB]`` walks a directory laid out like the recordings,
dispatches each file on its folder and name, and compares. Every parameter comes from the file. With
``--arranged`` networks lie in memory as on a GPU: channels last, projections packed.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import pkgutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from dispose_stages.models.temporal_convolution import channels_last
from dispose_stages.models.transformer import pack_projections
from tests.parity import families
from tests.parity.case import Case, Check, Family, SkipCase
from tests.parity.families.networks import arrangements


def all_families() -> list[Family]:
    """The ``FAMILIES`` of every module in `tests.parity.families`."""
    found: list[Family] = []
    for module in pkgutil.iter_modules(families.__path__):
        found += importlib.import_module(f"{families.__name__}.{module.name}").FAMILIES
    return found


def find_cases(root: Path, only: str = "*") -> Iterator[tuple[Case, Family | None]]:
    """Every recorded file with the first family that claims it."""
    known = all_families()
    for path in sorted([*root.rglob("*.npz"), *root.rglob("*.json")]):
        case = Case(root, path)
        if path.name == "index.json" or "tokenizer" in path.parts:
            continue
        if not fnmatch.fnmatch(case.name, only):
            continue
        yield case, next((f for f in known if fnmatch.fnmatch(case.name, f.pattern)), None)


def replay_case(case: Case, family: Family | None) -> tuple[str, list[Check], str]:
    """Outcome (``ok``, ``FAIL`` or ``skip``), all checks, and the reason of a skip or failure."""
    if family is None:
        return "skip", [], "no family claims this file"
    try:
        checks = list(family.replay(case))
    except SkipCase as skip:
        return "skip", [], str(skip)
    except Exception as error:  # noqa: BLE001 - one broken case must not hide the others
        return "FAIL", [], f"{type(error).__name__}: {error}"
    if not checks:
        return "FAIL", [], "nothing was compared"
    failed = [check.name for check in checks if not check.passed]
    return ("FAIL" if failed else "ok"), checks, ", ".join(failed)


def _ratio(check: Check) -> float:
    if check.error != check.error:  # NaN sorts as worst
        return float("inf")
    return check.error / check.limit if check.limit else (float("inf") if check.error else 0.0)


def main(arguments: list[str] | None = None) -> int:
    """Replay a directory; exit status 1 if any case fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--only", default="*", help="glob over case names, e.g. 'dwpose/*'")
    parser.add_argument("--arranged", action="store_true", help="networks as on a GPU")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line per compared array")
    options = parser.parse_args(arguments)
    arrangements[:] = [channels_last, pack_projections] if options.arranged else []
    counts = {"ok": 0, "FAIL": 0, "skip": 0}
    for case, family in find_cases(options.directory, options.only):
        start = time.perf_counter()
        outcome, checks, reason = replay_case(case, family)
        counts[outcome] += 1
        worst = max(checks, key=_ratio, default=None)
        error = f"{worst.error:.3g}" if worst else "-"
        limit = f"{worst.limit:.3g}" if worst else "-"
        seconds = time.perf_counter() - start
        verdict = outcome + (f": {reason}" if reason else "")
        print(f"{case.name}  {error}  {limit}  {verdict}  ({seconds:.1f} s)", flush=True)
        if options.verbose:
            for check in checks:
                print(f"    {check.name}  {check.error:.3g}  {check.limit:.3g}")
    arrangements.clear()
    print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['skip']} skipped")
    return 1 if counts["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
