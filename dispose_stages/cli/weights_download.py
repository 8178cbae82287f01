"""``dispose weights download``: the published checkpoints, from the hub or from another folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from dispose_stages.cli.options import EXISTING_FOLDER, FOLDER
from dispose_stages.cli.terminal import say
from dispose_stages.config import GPU_STAGES
from dispose_stages.errors import WeightsError
from dispose_stages.weights.bundle import OFFICIAL, bundle_name
from dispose_stages.weights.verification import Problem, bundle_origin, problems_of

_MINUTE = 60.0


class MinuteLines(tqdm):  # type: ignore[type-arg] # not at run time
    """Stands in for a bar where nobody watches: a line a minute."""

    def __init__(self, *, total: int, initial: int = 0, **_looks: Any) -> None:
        super().__init__(disable=True)
        self._have, self._all, self._said = initial, total, time.monotonic()

    def update(self, n: float | None = 1) -> None:
        """So many more bytes have come."""
        self._have += int(n or 0)
        if time.monotonic() - self._said >= _MINUTE:
            self._said = time.monotonic()
            say(f"    {self._have / 1e6:,.0f} of {self._all / 1e6:,.0f} MB")


@click.command()
@click.option(
    "--bundle",
    type=click.Choice(["official", "small", "tiny"]),
    default=OFFICIAL,
    show_default=True,
    help="Only `official` is fetched; of the others this says where they come from.",
)
@click.option(
    "--root",
    type=FOLDER,
    default=Path("models/official"),
    show_default=True,
    help="Folder of the checkpoints, for `models.root`; `--set models=official` means the default.",
)
@click.option(
    "--stage",
    "stages",
    type=click.Choice(GPU_STAGES),
    multiple=True,
    help="Only the files that this stage reads. May be repeated.",
)
@click.option(
    "--from",
    "folder",
    type=EXISTING_FOLDER,
    help="Link to the files in this folder and fetch nothing. Found in this program's layout, as "
    "copies of the repositories, or in a cache of huggingface_hub.",
)
def download(*, bundle: str, root: Path, stages: tuple[str, ...], folder: Path | None) -> None:
    """Bring the checkpoints that are missing or wrong; the same command goes on after a break.

    Every file is compared with the digest that its publisher states. Mirrors, tokens and proxies
    are set as for huggingface_hub: HF_ENDPOINT, HF_TOKEN, HTTPS_PROXY. A file that is replaced is
    kept as NAME.replaced.
    """
    if bundle != OFFICIAL:
        raise WeightsError(f"nothing to fetch: the bundle {bundle!r} {bundle_origin(bundle, root)}")
    if (held := bundle_name(root)) != OFFICIAL:
        raise WeightsError(f"{root} holds the bundle {held!r}; choose another folder with --root")
    problems = problems_of(root, stages or None)
    if problems:
        failed = _fetch(root, problems) if folder is None else _link(root, problems, folder)
        if failed:
            raise WeightsError("\n".join(["not everything came:", *failed]))
    say(f"{root}: all files are there")


def _link(root: Path, problems: Sequence[Problem], folder: Path) -> list[str]:
    from dispose_stages.weights.download import link

    failed = []
    for problem in problems:
        if reason := link(root, problem, folder):
            failed.append(f"  {reason}")
        else:
            say(f"{problem.file.name}: linked")
    return failed


def _fetch(root: Path, problems: Sequence[Problem]) -> list[str]:
    from dispose_stages.weights.download import (
        bring,
        by_hand,
        check_space,
        finish,
        free_space,
        left_to_fetch,
        look_up,
    )
    from dispose_stages.weights.hub import HubError

    wanted, failed = look_up(problems)
    amount, free = left_to_fetch(root, wanted), free_space(root)
    say(f"{root}: {len(wanted)} files, {amount / 1e9:.2f} GB to fetch, {free / 1e9:.2f} GB free")
    check_space(root, wanted)
    refused: set[str] = set()
    for count, published in enumerate(wanted, 1):
        repository = published.file.repository
        if repository in refused:
            continue
        size = published.size / 1e6
        say(f"({count}/{len(wanted)}) {published.place.path}, {size:,.1f} MB, from {repository}")
        if (reason := published.problem.reason) != "missing":
            say(f"    instead of {published.problem.path}, which is {reason}")
        try:
            bring(root, published, None if sys.stderr.isatty() else MinuteLines)
        except HubError as error:
            rest = [w.problem for w in wanted[count - 1 :] if w.file.repository == repository]
            failed += [str(error), by_hand(rest)]
            refused.add(repository)
        except WeightsError as error:
            failed.append(str(error))
    finish(root)
    return failed
