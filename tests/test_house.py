"""What keeps the house small: files, functions, and types that only carry others about."""

import ast
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "dispose_stages"
TREES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}
LATER = ("score/", "export/", "benchmark/", "training/", "store/decoding/")
"""Rooms that came after the house was laid out."""
DATACLASSES = {"house": 80, "later": 56}
"""As many as there are: who adds one looks whether another can go."""
MOST_LINES = 300


def dataclasses(tree):
    """Classes that are decorated as such."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            names = [ast.unparse(decorator) for decorator in node.decorator_list]
            if any(name.startswith("dataclass") for name in names):
                yield node.name


def test_dataclasses_do_not_creep_in():
    """A value that one function hands to the next needs no type of its own."""
    counts = Counter()
    for name, tree in TREES.items():
        counts["later" if name.startswith(LATER) else "house"] += len(list(dataclasses(tree)))
    assert counts["house"] <= DATACLASSES["house"]
    assert counts["later"] <= DATACLASSES["later"]


def test_a_file_is_read_at_once():
    """None is longer than that."""
    texts = {name: (PACKAGE / name).read_text(encoding="utf-8") for name in TREES}
    assert [name for name, text in texts.items() if text.count("\n") > MOST_LINES] == []


def body_lines(node, lines):
    """Lines of code, without the docstring, blank lines and remarks."""
    first = node.body[1:] if ast.get_docstring(node) is not None else node.body
    span = lines[first[0].lineno - 1 : node.end_lineno] if first else []
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in span)


def test_functions_are_short():
    """Half of them have at most six lines of code, nine in ten at most sixteen, all forty-five."""
    lengths = []
    for name, tree in TREES.items():
        lines = (PACKAGE / name).read_text(encoding="utf-8").splitlines()
        functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
        lengths += [body_lines(node, lines) for node in functions]
    lengths.sort()
    assert lengths[len(lengths) // 2] <= 6
    assert lengths[len(lengths) * 9 // 10] <= 16
    assert lengths[-1] <= 45
