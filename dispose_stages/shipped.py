"""Files that come with the program: workflow, profiles, configuration, small bundle, media.

They lie at the top of a checkout, and in a folder of the installed package (pyproject.toml says
how they get there).
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped(name: str) -> Path:
    """Where such a file or folder is.

    Args:
        name: Its path in a checkout, for instance ``profiles/slurm``.
    """
    installed = _PACKAGE / "_shipped"
    return (installed if installed.is_dir() else _PACKAGE.parent) / name


def here_or_shipped(path: Path) -> Path:
    """A path as it is given, from the working directory; where nothing is there, the program's own.

    Args:
        path: Unchanged if it is absolute, exists, or names nothing that comes with the program.
    """
    if path.is_absolute() or path.exists() or not shipped(str(path)).exists():
        return path
    return shipped(str(path))
