"""Commands in the documents work: each is run, where it takes long as a dry run or `--help`."""

import contextlib
import importlib.util
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.exceptions import BadOptionUsage
from click.testing import CliRunner

from dispose_stages.cli import cli
from dispose_stages.errors import DisposeError

REPOSITORY = Path(__file__).parents[1]
# Decisions also speak of commands that there are not.
DOCUMENTS = sorted(
    {
        *REPOSITORY.glob("*.md"),
        *REPOSITORY.glob("docs/*.md"),
        REPOSITORY / "config/README.md",
        REPOSITORY / "manifests/README.md",
    }
)
PROGRAMS = ("dispose", "snakemake", "make", "python", "pip", "conda", "apt-get", "pre-commit")
SET_UP = frozenset({"pip", "conda", "apt-get", "pre-commit"})
"""Change the machine; what they name is looked at."""
_FENCE = re.compile(r"^ *```\w*\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(rf"`((?:{'|'.join(PROGRAMS)}) [^`]*)`")
WORDS = {
    **dict.fromkeys(("RUN", "RUN_DIR", "results/first", "results/dances"), "results/demo"),
    "PAIR": "blue_dances",
    "REASON": "media_unreadable",
    "DIR": "out",
    "FILE": "photo.jpg",
    "IMAGES_DIR": "people",
    "VIDEOS_DIR": "dances",
    "a,b": "blue_dances,green_waves",
    "IDS": "blue_dances",
    "N": "3",
    "all.csv": "manifest.csv",
    "m.csv": "manifest.csv",
    "sweep.csv": "manifest.csv",
    "/archive/dances": "archive",
    "pck_010 > 0.8 and frames >= 48": "frames >= 2",
}
"""What stands for something in the documents."""
LONG = {
    ("benchmark",): "trains nothing, but samples for minutes",
    ("train",): "hours",
    ("weights", "download"): "gigabytes",
    ("weights", "convert"): "asks for a whole bundle",
    ("weights", "check"): "of the published models",
    ("weights", "make-tiny"): "writes where it is told to, by default into the checkout",
    ("config",): "writes the checkout's own files",
    ("vbench", "import"): "takes what VBench wrote",
    ("pose",): "a job",
    ("reproduce",): "samples for minutes",
    ("manifest", "clips"): "looks for persons, whom the tiny bundle does not know",
    ("select",): "asks for a run with scores",
}
"""Commands of which only `--help` is run, and why."""


@dataclass(frozen=True)
class Command:
    """A command as a document shows it.

    Attributes:
        text: On one line, without remarks.
        whole: A line of a block or a cell of a table: meant to be typed as it stands.
    """

    text: str
    whole: bool

    @property
    def words(self):
        return [WORDS.get(word, word) for word in shlex.split(self.text)]


def commands(text):
    """All commands of a document."""
    for block in _FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            shown = line.strip().removeprefix("$ ").partition("  #")[0].partition(" # ")[0]
            if shown.split(" ")[0] in PROGRAMS:
                yield Command(" ".join(shown.split()), whole=True)
    rest = _FENCE.sub("", text)
    for row in re.findall(r"^\|([^|]*)\|", rest, flags=re.MULTILINE):
        yield from (Command(span, whole=True) for span in _SPAN.findall(row))
    yield from (Command(" ".join(span.split()), whole=False) for span in _SPAN.findall(rest))


ALL = sorted(
    {command for path in DOCUMENTS for command in commands(path.read_text(encoding="utf-8"))},
    key=lambda command: (command.text, command.whole),
)


def of(program):
    return [command for command in ALL if command.text.split(" ")[0] == program]


def resolve(words):
    """The click command that some words name, the names, and the words that are left."""
    command, names, rest = cli, (), list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        found = command.get_command(click.Context(command), name)
        if found is None:
            raise LookupError(f"there is no command {name}")
        command, names = found, (*names, name)
    return command, names, rest


def test_documents_show_commands():
    """The search finds them in blocks, tables and sentences."""
    assert len(of("dispose")) > 40
    assert any(command.whole and "--manifest manifest.csv" in command.text for command in ALL)
    found = list(commands("```\n$ dispose run --x \\\n   1   # why\n```\nsay `dispose status a`"))
    assert found == [Command("dispose run --x 1", True), Command("dispose status a", False)]
    found = list(commands("| `make demo` | by `make x` |\n"))
    assert found[0] == Command("make demo", True)


@pytest.mark.parametrize("command", of("dispose"), ids=lambda command: command.text)
def test_every_command_and_option_exists(command):
    """Whatever a document says of one."""
    found, names, rest = resolve(command.words[1:])
    # In a sentence an option may stand without its argument.
    lenient = contextlib.nullcontext() if command.whole else contextlib.suppress(BadOptionUsage)
    with lenient:
        found.make_parser(click.Context(found)).parse_args(list(rest))
    result = CliRunner().invoke(cli, [*names, "--help"])
    assert result.exit_code == 0, result.output


@pytest.fixture
def folder(tiny_run, tmp_path):
    """A copy of a finished run with what the documents' commands name."""
    root = tmp_path / "project"
    shutil.copytree(tiny_run, root)
    (root / "people").mkdir()
    (root / "dances").mkdir()
    shutil.copy(root / "media/reference_blue.png", root / "people/anna.png")
    shutil.copy(root / "media/driver_wave.mp4", root / "dances/wave.mp4")
    shutil.copy(root / "media/reference_blue.png", root / "photo.jpg")
    shutil.copytree(root / "media", root / "manifests/media")
    rows = (root / "manifest.csv").read_text().splitlines(keepends=True)
    for name in ("manifest.csv", "manifests/demo.csv"):
        (root / name).write_text("".join(row for row in rows if not row.startswith("gone")))
    for name in ("config.yaml", "my.yaml"):
        (root / name).write_text("models: tiny\n")
    (root / "dances.yaml").write_text("name: dances\n")
    return root


def is_long(names):
    return any(names[: len(prefix)] == prefix for prefix in LONG)


def is_to_be_run(command):
    """Whole commands, and of those in sentences what takes no second."""
    try:
        names = resolve(command.words[1:])[1]
    except LookupError:  # another test says so
        return False
    quick = command.whole or names != ("run",)
    return len(command.words) > 2 and not is_long(names) and quick


RUNNABLE = {tuple(command.words): command for command in of("dispose") if is_to_be_run(command)}
"""Each once; a whole one stands for the same in a sentence."""


@pytest.mark.parametrize("command", RUNNABLE.values(), ids=lambda command: command.text)
def test_what_is_to_be_typed_works(command, folder):
    """On a finished run; `dispose run` as a dry run. In a sentence an argument may be missing."""
    arguments = command.words[1:]
    if arguments[0] == "run":
        arguments = [*arguments, "--dry-run"]
    with contextlib.chdir(folder):
        result = CliRunner().invoke(cli, arguments)
    if not command.whole and result.exit_code == 2:
        assert re.search("Missing|requires an argument|Invalid value", result.output)
        return
    if not command.whole and isinstance(result.exception, DisposeError):
        return  # a sentence may speak of another run than this
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"


@pytest.mark.parametrize("command", of("make"), ids=lambda command: command.text)
def test_targets_of_make_exist(command):
    """`make -n`, which runs nothing."""
    done = subprocess.run(
        ["make", "-n", "-C", str(REPOSITORY), *command.words[1:]],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", of("python"), ids=lambda command: command.text)
def test_modules_and_scripts_exist(command):
    """With the arguments that are files."""
    _, first, *rest = command.words
    if first == "-m":
        assert importlib.util.find_spec(rest[0]) is not None
    else:
        assert (REPOSITORY / first).is_file()


@pytest.mark.parametrize(
    "command",
    {command.text: command for command in of("snakemake")}.values(),
    ids=lambda command: command.text,
)
def test_snakemake_takes_what_it_is_given(command, folder):
    """As a dry run, in a project's folder; a cluster's executor is not asked for anything."""
    arguments = command.words[1:]
    if "--profile" not in arguments:
        arguments += ["--profile", "profiles/local"]
    shutil.copytree(REPOSITORY / "profiles", folder / "profiles")
    shutil.copy(REPOSITORY / "config/config.yaml", folder / "default.yaml")
    (folder / "config").mkdir()
    shutil.move(folder / "default.yaml", folder / "config/config.yaml")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")),
            *arguments,
            "--dry-run",
        ],
        check=False,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_program_is_looked_at():
    """Of what sets the machine up, the files and extras it names are there."""
    tested = {"dispose", "make", "python", "snakemake"}
    assert set(PROGRAMS) == tested | SET_UP
    project = (REPOSITORY / "pyproject.toml").read_text()
    for command in (command for name in SET_UP for command in of(name)):
        for extra in re.findall(r"\[(\w+)\]", command.text):
            assert re.search(rf"^{extra} = \[", project, flags=re.MULTILINE), command
        for option, value in itertools.pairwise(command.words):
            if option in {"-c", "-f"}:
                assert (REPOSITORY / value).is_file(), command
