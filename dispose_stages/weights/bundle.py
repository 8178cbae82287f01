"""Which bundle a folder holds: the published weights, or one made here that says so itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dispose_stages.atomic import readable_json, write_text
from dispose_stages.errors import WeightsError
from dispose_stages.records import parse, read_bytes

MARKER = "bundle.json"
OFFICIAL = "official"
TINY = "tiny"
_FORMAT = 1


def write_marker(root: Path, name: str, **details: Any) -> None:
    """Say what this folder holds; written last, so that a marked folder is complete."""
    write_text(root / MARKER, readable_json({"format": _FORMAT, "name": name, **details}))


def read_marker(root: Path) -> dict[str, Any]:
    """What the folder says of itself; the published weights say nothing.

    Raises:
        WeightsError: The marker is there and cannot be read.
    """
    path = root / MARKER
    try:
        content = parse(read_bytes(path))
    except FileNotFoundError:
        return {"name": OFFICIAL}
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        raise WeightsError(f"{path} does not name a bundle")
    return content


def bundle_name(root: Path) -> str:
    """``official`` unless the folder's marker says otherwise."""
    return str(read_marker(root)["name"])
