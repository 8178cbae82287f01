"""The command line ``dispose``; every command lies in a module that is imported when it is used."""

from __future__ import annotations

import errno
import importlib
import logging
import sys
from collections.abc import Sequence
from itertools import islice
from typing import Any

import click

from dispose_stages import __version__
from dispose_stages.cli.terminal import say, show_traceback
from dispose_stages.errors import DisposeError

SECTIONS = {
    "Runs": {
        "run": ("run:run", "Run the pipeline over a manifest."),
        "status": ("status:status", "Show what of a run is done, running, failed or left."),
        "retry": ("retry:retry", "Re-open the failed units of a run."),
        "logs": ("pair_logs:logs", "Show what the jobs said about one pair."),
        "explain": ("explain:explain", "Say what a reason means and what to do."),
        "inspect": ("inspect:inspect", "Show the artifacts of one pair."),
        "table": ("table:table", "Means of scores with intervals, and differences of variants."),
        "select": ("select:select", "Choose the best of a sweep, as a view of the run."),
        "benchmark": ("benchmark:benchmark", "Run every variant of videos and print one table."),
        "vbench": ("vbench:vbench", "Hand videos to VBench and take its results in."),
        "report": ("report:report", "Write report, index.parquet, failures.csv and rejects.csv."),
        "verify": ("verify:verify", "Compare everything a run has made with its digests."),
        "reproduce": ("reproduce:reproduce", "Make a delivered video again and compare it."),
        "gc": ("gc:gc", "Delete artifacts that no run needs."),
        "archive": ("archive:archive", "Copy a run somewhere else, where it works."),
    },
    "Data sets": {
        "export": ("export:export", "Make a data set of a run's videos."),
        "takedown": ("takedown:takedown", "Find and remove all that was made from a source."),
    },
    "What goes in": {
        "init": ("init:init", "Write a small project to a folder."),
        "doctor": ("doctor:doctor", "Say what this machine lacks."),
        "manifest": ("manifest:manifest", "Check and make manifests."),
        "weights": ("weights:weights", "Fetch, list, check and make checkpoints."),
        "train": ("train:train", "Train the small bundle, step by step."),
        "config": ("config:config", "Write or check the default configuration and its schema."),
    },
    "Jobs (called by the workflow, one shard each)": {
        "fingerprint": ("fingerprint:fingerprint", "Note the digests of a run's checkpoints."),
        "ingest": ("stages:ingest", "Compute one shard of media facts."),
        "pose": ("stages:pose", "Compute one shard of poses."),
        "motion": ("stages:motion", "Compute one shard of motion fields."),
        "correspondence": ("stages:correspondence", "Compute one shard of keypoint features."),
        "sample": ("stages:sample", "Compute one shard of latents."),
        "mux": ("stages:mux", "Compute one shard of videos."),
        "score": ("stages:score", "Compute one shard of scores."),
    },
}
"""Title to command to (module:object, line in the overview), in the order of the overview."""
COMMANDS = {name: entry for named in SECTIONS.values() for name, entry in named.items()}


_OF_THE_PLACE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
}
"""Errors that say what is wrong with a path or a disk that the user named; others are defects."""
EXTRAS = {"diffusers": "train", "onnx": "train", "transformers": "train"}
"""Package to what brings it, of those that some commands need and no stage does."""


class LazyGroup(click.Group):
    """Knows its commands' names and one line about each; imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All names, in the order of the overview."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name][0].split(":")
        command = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        assert isinstance(command, click.Command)  # noqa: S101 - for the type checker
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Take `--run-dir RUN_DIR`, the former spelling and that of the rules, for the argument.

        The rules keep it because Snakemake runs every job anew whose command reads differently.
        """
        name, command, words = super().resolve_command(ctx, args)
        whole = isinstance(command, click.Group)  # the word that comes first names its command
        return name, command, words if whole else _with_run_first(words)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The overview, without importing any command."""
        for title, named in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, line) for name, (_, line) in named.items()])


def _with_run_first(arguments: list[str]) -> list[str]:
    runs: list[str] = []
    others: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":  # the rest is Snakemake's
            others += [word, *words]
        elif word == "--run-dir":
            runs += islice(words, 1)
        elif word.startswith("--run-dir="):
            runs.append(word.partition("=")[2])
        else:
            others.append(word)
    return [*runs, *others]


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dispose")
@click.option("-v", "--verbose", is_flag=True, help="Also log details.")
@click.pass_context
def cli(ctx: click.Context, *, verbose: bool) -> None:
    """Animate reference images with the motion of driving videos, thousands of pairs at a time.

    A manifest lists the pairs; `dispose run` computes them in resumable stages, on this machine or
    on a SLURM cluster, and writes one video per pair. `dispose COMMAND --help` explains a command.
    """
    ctx.obj = {"verbose": verbose}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: errors that a user can act on become one line and exit status 1."""
    sys.excepthook = show_traceback
    options: dict[str, Any] = {"prog_name": "dispose", "standalone_mode": True}
    try:
        cli.main(args=None if arguments is None else list(arguments), **options)
    except DisposeError as error:
        say(f"error: {error}", err=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if (extra := EXTRAS.get((error.name or "").partition(".")[0])) is None:
            raise
        command = f"pip install 'dispose-stages[{extra}]'"
        say(f"error: this needs {error.name}, which {command} brings", err=True)
        sys.exit(1)
    except BrokenPipeError:  # `dispose ... | head`
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if error.errno not in _OF_THE_PLACE:
            raise
        logging.getLogger(__name__).debug("%s", error, exc_info=True)
        where = f"{error.filename}: " if error.filename else ""
        say(f"error: {where}{error.strerror}", err=True)
        sys.exit(1)
