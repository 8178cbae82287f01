"""Are all checkpoint files there and whole? Everything that is wrong, in one go."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dispose_stages.config import GPU_STAGES
from dispose_stages.config_models import BUNDLE_ROOTS
from dispose_stages.errors import WeightsError
from dispose_stages.weights.bundle import MARKER, OFFICIAL, TINY, bundle_name
from dispose_stages.weights.converted import find_in_use, read_record
from dispose_stages.weights.layout import FILES, CheckpointFile, Place, files_of
from dispose_stages.weights.recognition import placeholder, wrong_form

MISSING = "missing"
_logger = logging.getLogger(__name__)


def find_file(root: Path, name: str) -> Path:
    """The file that is loaded: in any of its places, or a conversion of it.

    Args:
        root: ``models.root``.
        name: As in `dispose_stages.weights.layout`, e.g. ``layout.CMP``.

    Raises:
        WeightsError: It is in none of its places.
        KeyError: There is no such file in the layout.
    """
    file = {entry.name: entry for entry in FILES}[name]
    path = _find(root, file)
    if path is None:
        problem = Problem(file, root / name, MISSING)
        raise WeightsError(f"a checkpoint file is not there:\n{problem}")
    return path


def _find(root: Path, file: CheckpointFile) -> Path | None:
    return find_in_use(root, [place.path for place in file.places])


@dataclass(frozen=True, slots=True)
class Problem:
    """A checkpoint file that is missing or not what it should be.

    Attributes:
        path: Where it is, or is expected.
        reason: ``missing``, or what is wrong with what is there.
    """

    file: CheckpointFile
    path: Path
    reason: str

    def __str__(self) -> str:
        """One line: place, reason, size, publisher."""
        size = self.file.describe_size()
        size = f", {size}" if self.reason == MISSING else f" (wanted: {size})"
        consent = " (asks for consent to its licence)" if self.file.licence_needed else ""
        return f"  {self.path}: {self.reason}{size}; published at {self.file.published}{consent}"


def problems_of(
    root: Path, stages: Iterable[str] | None = None, *, published: bool = True
) -> list[Problem]:
    """Everything that is wrong with the files of these stages, a problem for each.

    Args:
        root: ``models.root``.
        stages: Whose files; all without.
        published: Compare with the published files; off for bundles of other widths.
    """
    problems = []
    for file in files_of(stages):
        found = _find(root, file)
        if found is None:
            problems.append(Problem(file, root / file.name, MISSING))
        elif reason := what_is_wrong(file, found, _place(root, file, found), published=published):
            problems.append(Problem(file, found, reason))
    return problems


def _place(root: Path, file: CheckpointFile, path: Path) -> Place:
    record = read_record(path)
    source = path if record is None else path.with_name(record["source"])
    return next((p for p in file.places if root / p.path == source), file.places[0])


def what_is_wrong(
    file: CheckpointFile, path: Path, place: Place, *, published: bool = True
) -> str | None:
    """What is wrong with a file, or with the pickle that it was converted from; None if nothing.

    Args:
        file: Which one it should be.
        published: Compare with the published file.
    """
    try:
        record = read_record(path)
        size = path.stat().st_size if record is None else record["source_size"]
        if size == 0:
            return "empty"
        reason = placeholder(path)
        if reason is None and published:
            reason = _wrong_size(place, size) or wrong_form(path, file)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return reason


def _wrong_size(place: Place, size: int) -> str | None:
    if place.size is not None and size != place.size:
        others = (f for f in FILES if f.places[0].size == size)
        if other := next(others, None):
            return f"another model: it has the size of {other.name}"
        kind = "cut short" if size < place.size else "another file"
        return f"{kind}: {size:,} bytes instead of the published {place.size:,}"
    if size < place.at_least:
        return f"cut short: {size:,} bytes, too few for its weights ({place.at_least:,} at least)"
    return None


def verify(root: Path, stages: Iterable[str] | None, bundle: str) -> None:
    """Check a checkpoint folder before anything runs.

    Args:
        root: ``models.root``.
        stages: Whose files are needed, among names of other jobs; all without.
        bundle: The configured ``models.bundle``.

    Raises:
        WeightsError: Lists every missing or wrong file, its expected place, size and publisher,
            and the command that brings it, or says that the folder holds another bundle than the
            configured one.
    """
    names = set(GPU_STAGES if stages is None else stages)
    wanted = [stage for stage in GPU_STAGES if stage in names]
    if not files_of(wanted):
        return
    if not root.is_dir():
        hint = (
            "models.root in the configuration names the folder of the checkpoints; "
            + _remedy(root, bundle, wanted)
            if bundle == OFFICIAL
            else f"the bundle {bundle!r} {bundle_origin(bundle, root)}"
        )
        raise WeightsError(f"the checkpoint folder {root} does not exist; {hint}")
    held = bundle_name(root)
    if held != bundle and OFFICIAL in {held, bundle}:
        raise WeightsError(
            f"{root} holds the bundle {held!r} (says {MARKER}), but models.bundle is {bundle!r}"
            if held != OFFICIAL
            else f"{root} has no {MARKER}, so it is not the bundle {bundle!r}; that one "
            + bundle_origin(bundle, root)
        )
    problems = problems_of(root, wanted, published=held == OFFICIAL)
    if problems:
        count = len(problems)
        lines = "\n".join(map(str, problems))
        noun = "file is" if count == 1 else "files are"
        remedy = _remedy(root, held, wanted)
        raise WeightsError(f"{count} checkpoint {noun} missing or wrong:\n{lines}\n{remedy}")


def complete_stages(root: Path, bundle: str) -> list[str]:
    """Stages with networks whose files are all there and right.

    Raises:
        WeightsError: There is no such stage, or the folder holds another bundle.
    """
    complete, refusals = [], []
    for stage in GPU_STAGES:
        try:
            verify(root, [stage], bundle)
        except WeightsError as error:
            _logger.info("%s is left out: %s", stage, error)
            refusals.append(error)
        else:
            complete.append(stage)
    if not complete:
        raise refusals[0]
    return complete


def _remedy(root: Path, bundle: str, stages: list[str]) -> str:
    """The command that brings what is missing."""
    if bundle != OFFICIAL:
        return f"the bundle {bundle!r} {bundle_origin(bundle, root)}"
    some = files_of(stages) != FILES
    only = "".join(f" --stage {stage}" for stage in stages) if some else ""
    return (
        f"`dispose weights download --root {shlex.quote(str(root))}{only}` brings what is missing"
    )


def stage_files(root: Path, stage: str) -> list[Path]:
    """The files a stage loads, in a fixed order.

    Raises:
        WeightsError: Lists those that are missing.
    """
    problems = problems_of(root, [stage], published=False)
    if problems:
        lines = "\n".join(map(str, problems))
        raise WeightsError(f"checkpoint files of stage {stage} are not there:\n{lines}")
    return [path for file in files_of([stage]) if (path := _find(root, file)) is not None]


def bundle_origin(bundle: str, root: Path) -> str:
    """Where a bundle that was not published comes from."""
    if bundle == TINY:
        return f"is made with `dispose weights make-tiny {root}`"
    return f"comes with the program, in {BUNDLE_ROOTS[bundle]}"
