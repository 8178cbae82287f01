"""Are all checkpoint files there and whole? Everything that is wrong, in one go."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dispose_stages.config_models import BUNDLE_ROOTS
from dispose_stages.errors import WeightsError
from dispose_stages.weights.bundle import MARKER, OFFICIAL, TINY, bundle_name
from dispose_stages.weights.converted import find_in_use, read_record
from dispose_stages.weights.layout import FILES, CheckpointFile, Place, files_of


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
        problem = _problem(file, root / name, "missing")
        raise WeightsError(f"a checkpoint file is not there:\n{problem}")
    return path


def _find(root: Path, file: CheckpointFile) -> Path | None:
    return find_in_use(root, [place.path for place in file.places])


def missing_files(
    root: Path, stages: Iterable[str] | None = None, *, check_size: bool = True
) -> list[str]:
    """Everything that is wrong with the files of these stages, a line for each.

    Args:
        root: ``models.root``.
        stages: Whose files; all without.
        check_size: Compare with the published sizes; off for bundles of other widths.
    """
    problems = []
    for file in files_of(stages):
        found = _find(root, file)
        if found is None:
            problems.append(_problem(file, root / file.name, "missing"))
            continue
        reason = _wrong_size(root, file, found, check_size=check_size)
        if reason:
            problems.append(_problem(file, found, reason))
    return problems


def _problem(file: CheckpointFile, path: Path, reason: str) -> str:
    """One line: place, reason, size, publisher."""
    size = f", {file.describe_size()}" if reason == "missing" else ""
    consent = " (asks for consent to its licence)" if file.licence_needed else ""
    return f"  {path}: {reason}{size}; published at {file.published}{consent}"


def _wrong_size(root: Path, file: CheckpointFile, path: Path, *, check_size: bool) -> str | None:
    """What is wrong with the size of a file, or of the pickle that it was converted from."""
    size, record = path.stat().st_size, read_record(path)
    if record is not None:
        size, path = record["source_size"], path.with_name(record["source"])
    place = next((p for p in file.places if root / p.path == path), Place(file.name))
    if size == 0:
        return "empty"
    if not check_size:
        return None
    if place.size is not None and size != place.size:
        return f"{size:,} bytes instead of the published {place.size:,}"
    if size < place.at_least:
        return f"{size:,} bytes, too few for its weights ({place.at_least:,} at least)"
    return None


def verify(root: Path, stages: Iterable[str] | None, bundle: str) -> None:
    """Check a checkpoint folder before anything runs.

    Args:
        root: ``models.root``.
        stages: Whose files are needed; all without.
        bundle: The configured ``models.bundle``.

    Raises:
        WeightsError: Lists every missing or wrong file, its expected place, size and publisher,
            or says that the folder holds another bundle than the configured one.
    """
    if not root.is_dir():
        hint = (
            "models.root in the configuration names the folder of the checkpoints"
            if bundle == OFFICIAL
            else f"the bundle {bundle!r} {_origin(bundle, root)}"
        )
        raise WeightsError(f"the checkpoint folder {root} does not exist; {hint}")
    held = bundle_name(root)
    if held != bundle and OFFICIAL in {held, bundle}:
        raise WeightsError(
            f"{root} holds the bundle {held!r} (says {MARKER}), but models.bundle is {bundle!r}"
            if held != OFFICIAL
            else f"{root} has no {MARKER}, so it is not the bundle {bundle!r}; that one "
            + _origin(bundle, root)
        )
    problems = missing_files(root, stages, check_size=held == OFFICIAL)
    if problems:
        count = len(problems)
        lines = "\n".join(problems)
        noun = "file is" if count == 1 else "files are"
        raise WeightsError(f"{count} checkpoint {noun} missing or wrong:\n{lines}")


def stage_files(root: Path, stage: str) -> list[Path]:
    """The files a stage loads, in a fixed order.

    Raises:
        WeightsError: Lists those that are missing.
    """
    problems = missing_files(root, [stage], check_size=False)
    if problems:
        lines = "\n".join(problems)
        raise WeightsError(f"checkpoint files of stage {stage} are not there:\n{lines}")
    return [path for file in files_of([stage]) if (path := _find(root, file)) is not None]


def _origin(bundle: str, root: Path) -> str:
    """Where a bundle that was not published comes from."""
    if bundle == TINY:
        return f"is made with `dispose weights make-tiny {root}`"
    return f"is part of the repository, in {BUNDLE_ROOTS[bundle]}"
