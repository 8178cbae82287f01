"""Bringing checkpoint files into their folder: from the hub, or as links into another folder.

A file comes under another name, is compared with the digest that the hub states, and only then
takes its place, so what lies in a place is whole. What was begun is kept and continued. Digests are
noted at the first download (``downloads.json``): a file that comes again is the same file.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dispose_stages.atomic import commit, fsync_directory, temporary_name, write_text
from dispose_stages.errors import StoreError, WeightsError
from dispose_stages.records import read_record, record_text
from dispose_stages.store.files import existing_folder, file_digest
from dispose_stages.weights.converted import find_in_use
from dispose_stages.weights.hub import HubError, Published, fetch, find_published, stated_digest
from dispose_stages.weights.layout import HUB, CheckpointFile, Place
from dispose_stages.weights.verification import Problem, what_is_wrong

RECORD = "downloads.json"
_FORM = ("dispose-downloads", 1)
_PARTS = ".downloads"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SPARE = 1 << 26
"""Bytes that stay free."""


Notes = Mapping[str, Mapping[str, Any]]
"""Place to what was downloaded for it."""


def look_up(problems: Sequence[Problem]) -> tuple[list[Published], list[str]]:
    """Ask the hub for files; what it does not give is a line each and stops no other.

    Raises:
        HubError: The hub as a whole cannot be reached.
    """
    wanted: list[Published] = []
    refused: list[str] = []
    for repository, group in groupby(problems, lambda problem: problem.file.repository):
        part = list(group)
        try:
            wanted += find_published(repository, part)
        except HubError as error:
            if error.everywhere:
                raise HubError(f"{error}\n{by_hand(problems)}", everywhere=True) from error
            refused += [str(error), by_hand(part)]
            continue
    # A licence that was not accepted shows before gigabytes have come.
    wanted.sort(key=lambda w: not w.file.licence_needed)
    return wanted, refused


def by_hand(problems: Iterable[Problem]) -> str:
    """What to do without the hub's protocol, a line for each file."""
    lines = []
    for problem in problems:
        file = problem.file
        page = f"{HUB}{file.repository}/resolve/main/{file.published_path(file.places[0])}"
        lines.append(f"  {page} -> {problem.path.with_name(Path(file.name).name)}")
    head = "by hand: fetch these with a browser, or name a folder that has them with --from"
    return "\n".join([head, *lines])


def left_to_fetch(root: Path, wanted: Iterable[Published]) -> int:
    """Bytes that are still to come."""
    return sum(max(0, w.size - _size(_part(root, w))) for w in wanted)


def free_space(root: Path) -> int:
    """Bytes free where the folder is, or will be."""
    return shutil.disk_usage(existing_folder(root)).free


def check_space(root: Path, wanted: Iterable[Published]) -> None:
    """Refuse what cannot fit before it begins.

    Raises:
        WeightsError: The disk has too little room.
    """
    needed, free = left_to_fetch(root, wanted), free_space(root)
    if needed + _SPARE > free:
        raise WeightsError(
            f"{root}: {needed / 1e9:.2f} GB are to come and {free / 1e9:.2f} GB are free; make "
            "room, or name a folder on another disk with --root"
        )


def bring(root: Path, published: Published, bar: type[tqdm[Any]] | None = None) -> None:
    """Fetch one file, compare it, and put it in its place; what was there is set aside.

    Args:
        bar: Shows how far it is.

    Raises:
        HubError: It does not come.
        WeightsError: It is not what the hub states or what it was before, or cannot be written.
    """
    part = _part(root, published)
    notes = read_notes(root)
    known = published.place.sha256 or _noted_digest(notes, published)
    if published.sha256 and known and published.sha256 != known:
        raise WeightsError(_changed(root, published, published.sha256, known))
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        fetch(published, part, bar)
        digest = stated_digest(published, part)
        if digest is None or (known and digest != known):
            part.unlink()
            raise WeightsError(_changed(root, published, digest or "", known))
        _note(root, notes, published, digest)
        _put_in_place(part, root / published.place.path, published.problem.path)
    except OSError as error:
        if isinstance(error, WeightsError):
            raise
        full = error.errno in _FULL
        what = "no room is left" if full else f"{error.strerror or error}"
        raise WeightsError(
            f"{root / published.place.path}: {what}; what has come is kept, and the same command "
            "goes on"
        ) from error


def finish(root: Path) -> None:
    """Remove the folder of parts if nothing is left in it."""
    parts = root / _PARTS
    if parts.is_dir() and not any(parts.iterdir()):
        parts.rmdir()


def link(root: Path, problem: Problem, folder: Path) -> str | None:
    """Link a file to the one in another folder; returns what is wrong if that cannot be.

    Found in any of its places, as a copy of its repository, or in a cache of the hub's library.

    Raises:
        OSError: The link cannot be made.
    """
    file, reasons = problem.file, []
    for there, place, name in _candidates(folder, file):
        reason = what_is_wrong(file, there, place)
        if reason is None and place.sha256 and file_digest(there) != place.sha256:
            reason = "its digest is not that of the published file"
        if reason is None:
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = temporary_name(target)
            temporary.symlink_to(there.absolute())
            _put_in_place(temporary, target, problem.path)
            return None
        reasons.append(f"{there}: {reason}")
    return "; ".join(reasons) or f"{file.name}: not in {folder}"


def _candidates(folder: Path, file: CheckpointFile) -> list[tuple[Path, Place, str]]:
    """Files that may be the one, the place that each is for, and the name that it gets."""
    found = []
    if path := find_in_use(folder, [place.path for place in file.places]):
        places = (p for p in file.places if folder / p.path == path)
        found.append((path, next(places, file.places[0]), str(path.relative_to(folder))))
    owner, name = file.repository.split("/")
    clones = [folder / name, folder / owner / name]
    clones += sorted(folder.glob(f"models--{owner}--{name}/snapshots/*"))
    for place in file.places:
        published = file.published_path(place)
        paths = [clone / published for clone in clones] if published else []
        found += [(path, place, place.path) for path in paths if path.is_file()]
    return found


def _put_in_place(new: Path, target: Path, former: Path) -> None:
    for path in {target, former}:
        if path.is_symlink() or path.exists():
            path.rename(path.with_name(f"{path.name}.replaced"))
    target.parent.mkdir(parents=True, exist_ok=True)
    if new.is_symlink():
        new.rename(target)
        fsync_directory(target.parent)
    else:
        commit(new, target)


def read_notes(root: Path) -> Notes:
    """Place to what was downloaded for it.

    Raises:
        WeightsError: The notes are damaged.
    """
    path = root / RECORD
    if not path.exists():
        return {}
    try:
        return read_record(
            path,
            *_FORM,
            lambda content: {k: _noted(**v) for k, v in content["files"].items()},
        )
    except StoreError as error:
        raise WeightsError(f"{error}; remove it to note the digests anew") from error


def _noted_digest(notes: Notes, published: Published) -> str:
    return str(notes.get(published.place.path, {}).get("sha256", ""))


def _note(root: Path, notes: Notes, published: Published, digest: str) -> None:
    noted = _noted(
        published.file.repository, published.path, published.commit, published.size, digest
    )
    files = {**notes, published.place.path: noted}
    write_text(root / RECORD, record_text(*_FORM, {"files": files}))


def _noted(repository: str, path: str, commit: str, size: int, sha256: str) -> dict[str, Any]:
    """What a file was when it was first downloaded."""
    return {
        "repository": repository,
        "path": path,
        "commit": commit,
        "size": size,
        "sha256": sha256,
    }


def _changed(root: Path, published: Published, digest: str, known: str) -> str:
    if not digest:
        return (
            f"{published.url}: what came is not what the hub states (digest differs); it was "
            "thrown away, run the same command again"
        )
    where = "this program knows" if published.place.sha256 else f"{root / RECORD} notes"
    return (
        f"{published.url}: its SHA-256 is {digest}, but {where} {known}: the publisher has "
        "changed it, or a mirror gives another file"
    )


def _part(root: Path, published: Published) -> Path:
    return root / _PARTS / f"{published.sha256 or published.blob}.part"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
