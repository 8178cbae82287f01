"""The hub that publishes the checkpoints, through `huggingface_hub`: what it has, and bringing it.

Mirrors, tokens, proxies and offline mode are that library's own settings (``HF_ENDPOINT``,
``HF_TOKEN``, ``HTTPS_PROXY``, ``HF_HUB_OFFLINE``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # at run time
from tqdm import tqdm

from dispose_stages.atomic import try_lock
from dispose_stages.errors import WeightsError
from dispose_stages.weights.layout import CheckpointFile, Place
from dispose_stages.weights.verification import Problem

_CHUNK = 1 << 20
_SHA256 = re.compile(r"([0-9a-f]{64})?")
_BLOB = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Published:
    """A file as the hub has it.

    Attributes:
        problem: What is in its place now.
        place: For which of its places.
        path: In the repository.
        size: Bytes.
        sha256: As the hub states it; empty for small files, of which it states `blob`.
        blob: Git's name of the content.
    """

    problem: Problem
    place: Place
    path: str
    commit: str
    size: int
    sha256: str
    blob: str

    @property
    def file(self) -> CheckpointFile:
        """Which of ours."""
        return self.problem.file

    @property
    def url(self) -> str:
        """Of exactly this content."""
        return str(hf_hub_url(self.file.repository, self.path, revision=self.commit))


class HubError(WeightsError):
    """The hub cannot be reached, or does not give the file.

    Attributes:
        everywhere: Whether other files will fare no better.
    """

    def __init__(self, message: str, *, everywhere: bool = False) -> None:
        super().__init__(message)
        self.everywhere = everywhere


def find_published(repository: str, problems: Sequence[Problem]) -> list[Published]:
    """What a repository has of these files, each for the first of its places that is published.

    Raises:
        HubError: It cannot be asked, or lacks one of them.
    """
    with _typed_errors(repository):
        api = HfApi()
        commit = str(api.model_info(repository).sha)
        tree = api.list_repo_tree(repository, recursive=True, revision=commit)
        there = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    found = []
    for problem in problems:
        file = problem.file
        paths = ((place, file.published_path(place)) for place in file.places)
        place, path = next(((p, q) for p, q in paths if q in there), (None, None))
        if place is None or path is None:
            raise HubError(f"{repository} on {constants.ENDPOINT} has no file for {file.name}")
        entry = there[path]
        sha256 = entry.lfs.sha256 if entry.lfs else ""
        size = entry.lfs.size if entry.lfs else entry.size
        # Parts are named after them.
        if not _BLOB.fullmatch(entry.blob_id) or not _SHA256.fullmatch(sha256):
            raise HubError(f"{repository} on {constants.ENDPOINT}: states no digest of {path}")
        found.append(Published(problem, place, path, commit, size, sha256, entry.blob_id))
    return found


def fetch(published: Published, part: Path, bar: type[tqdm[Any]] | None = None) -> None:
    """Bring a file, or what is left of it; `part` grows and is kept when the connection breaks.

    Args:
        bar: Shows how far it is; without, the library's own where a person watches.

    Raises:
        HubError: It does not come, or another process is bringing it.
        OSError: It cannot be written.
    """
    repository = published.file.repository
    with _typed_errors(repository):
        # Also says whether the licence was accepted, which asking for the list does not.
        metadata = get_hf_file_metadata(published.url)
        stated = published.sha256 or published.blob
        if metadata.etag != stated or metadata.size != published.size:
            raise HubError(f"{published.url}: the hub states another file than a moment ago")
        # A token is for the hub, not for the storage that it sends us to.
        same_host = metadata.location.startswith(f"{constants.ENDPOINT}/")
        with part.open("ab") as stream:
            if not try_lock(stream):  # two that append to one file would spoil it for both
                raise HubError(f"{part}: another process is bringing this file")
            if stream.tell() > published.size:  # of a server that did not keep to its word
                stream.seek(0)
                stream.truncate()
            http_get(
                metadata.location,
                stream,
                resume_size=stream.tell(),
                headers=build_hf_headers(token=None if same_host else False),
                expected_size=published.size,
                displayed_filename=published.file.name,
                tqdm_class=bar,
            )


def stated_digest(published: Published, path: Path) -> str | None:
    """SHA-256 of a file that is what the hub states; None if it is not.

    Raises:
        OSError: It cannot be read.
    """
    sha256 = hashlib.sha256()
    blob = hashlib.sha1(f"blob {published.size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            sha256.update(chunk)
            if not published.sha256:
                blob.update(chunk)
    digest = sha256.hexdigest()
    stated, held = (
        (published.sha256, digest) if published.sha256 else (published.blob, blob.hexdigest())
    )
    return digest if held == stated else None


@contextmanager
def _typed_errors(repository: str) -> Iterator[None]:
    """What the library raises, as one line with the way out."""
    hub = constants.ENDPOINT
    page = f"{hub}/{repository}"
    try:
        yield
    except GatedRepoError as error:
        raise HubError(
            f"{page} asks for consent to its licence: open that page signed in and accept it, then "
            "`hf auth login`, or set HF_TOKEN to a token of yours with read access"
        ) from error
    except RepositoryNotFoundError as error:
        raise HubError(f"{page}: no such repository, or it is not open to your token") from error
    except OfflineModeIsEnabled as error:
        raise HubError("HF_HUB_OFFLINE is set, so nothing is fetched", everywhere=True) from error
    except (httpx2.TransportError, FileMetadataError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise HubError(f"{hub} cannot be reached: {reason}", everywhere=True) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise HubError(f"{page}: the hub answers {status}; try again later") from error
    except OSError as error:
        if error.errno is not None or isinstance(error, WeightsError):
            raise
        # The library's word for a body that ended before its length.
        raise HubError(f"{page}: the connection ended early; the same command goes on") from error
