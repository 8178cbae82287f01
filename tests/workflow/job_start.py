"""A cluster's job up to its command, beside the same with a Snakefile of one rule.

As a program, `job_start.py NOTES ARGUMENTS...` runs Snakemake with these arguments and writes down
what this repository added: lines run, files opened, modules imported. Counts, because times differ
from machine to machine.
"""

import atexit
import json
import runpy
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
OURS = (f"{REPOSITORY}/dispose_stages/", f"{REPOSITORY}/workflow/", f"{REPOSITORY}/Snakefile")


def as_the_main_process_calls_it(layout):
    """Workflow and settled configuration of a run."""
    return ["--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", str(layout.config)]


def remote_job(target):
    """Arguments with which a cluster's job calls Snakemake."""
    rule = target.split(":", maxsplit=1)[0]
    return [
        *("--target-jobs", target, "--allowed-rules", rule, "--mode", "remote"),
        *("--executor", "local", "--cores", "1", "--force", "--force-use-threads"),
        *("--target-files-omit-workdir-adjustment", "--nocolor", "--no-hooks", "--nolock"),
        *("--ignore-incomplete", "--retries", "0", "--attempt", "1"),
    ]


def bare_snakefile(workspace, command="touch bare/ledger/sample/0.json"):
    """A workflow of one job that makes one file: what Snakemake itself costs."""
    path = workspace.root / "bare.smk"
    output = 'output: "bare/ledger/sample/0.json"'
    path.write_text(f'rule bare:\n    {output}\n    shell: "{command}"\n')
    (workspace.root / "bare/ledger/sample/0.json").unlink(missing_ok=True)
    return ["--snakefile", str(path), *remote_job("bare:")]


class Watch:
    """Notes what runs of this repository's files, and which files are opened."""

    def __init__(self):
        self.lines = 0
        self.opened = []
        self._former = sys.gettrace()
        sys.addaudithook(self._hear)
        sys.settrace(self._enter)

    def end(self):
        """Count no more lines."""
        sys.settrace(self._former)

    def _hear(self, event, arguments):
        if event == "open" and isinstance(arguments[0], str):
            self.opened.append(arguments[0])

    def _enter(self, frame, _event, _argument):
        return self._step if frame.f_code.co_filename.startswith(OURS) else None

    def _step(self, _frame, event, _argument):
        self.lines += event == "line"
        return self._step


def main():
    notes, sys.argv[1:] = Path(sys.argv[1]), sys.argv[2:]
    watch = Watch()

    def write():
        watch.end()
        found = {"lines": watch.lines, "opened": watch.opened, "modules": sorted(sys.modules)}
        notes.write_text(json.dumps(found))

    atexit.register(write)
    runpy.run_module("snakemake", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
