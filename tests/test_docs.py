"""The documents speak of files that are there."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
TOP = "bundles|config|dispose_stages|docs|manifests|profiles|tests|workflow"
_NAMED = re.compile(rf"(?<![\w/<{{.-])((?:{TOP})/[\w.*/-]*\w)")
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
EXAMPLES = {"manifests/x.csv"}
DOCUMENTS = sorted(
    path
    for path in REPOSITORY.rglob("*.md")
    if not set(path.relative_to(REPOSITORY).parts)
    & {".git", ".venv", "results", "store", "node_modules"}
)


def missing(text, folder):
    """What is named as part of the repository or linked, and is neither there nor made by a run."""
    named = {name for name in _NAMED.findall(text) if not any(REPOSITORY.glob(name))}
    linked = {link for link in _LINK.findall(text) if not (folder / link).exists()}
    return sorted((named | linked) - EXAMPLES)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_what_a_document_names_is_there(path):
    """Folders, modules, tests and links."""
    assert missing(path.read_text(encoding="utf-8"), path.parent) == []


@pytest.mark.parametrize(
    "text", ["see `tests/gpu`", "(`tests/store/test_gone.py`)", "[here](gone.md)", "docs/none.md"]
)
def test_what_is_gone_is_found(text):
    """The check can fail."""
    assert missing(text, REPOSITORY) != []


def test_the_readme_stays_short_and_honest():
    """One reads it to its end; it says what the shipped bundle cannot do."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert "animates such\nfigures only" in text


@pytest.mark.parametrize(
    ("title", "shared", "most"),
    [("A row to its video", 6, 22), ("A keypoint to the latents", 0, 30)],
)
def test_the_walks_pass_few_files(title, shared, most):
    """Those that architecture.md names are there, as many as it says.

    `shared` stands for those that are named together: one `unit.py` per stage.
    """
    text = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
    (walk,) = re.findall(rf"\*{title}\*(.*?): (\d+) files", text, flags=re.DOTALL)
    files = [name for name in re.findall(r"`([\w/]+\.py)`", walk[0]) if "/" in name or not shared]
    assert [name for name in files if not (REPOSITORY / "dispose_stages" / name).is_file()] == []
    assert len(set(files)) + shared == int(walk[1]) <= most
