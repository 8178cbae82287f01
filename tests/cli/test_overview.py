import subprocess
import sys

import pytest
from click.testing import CliRunner

from dispose_stages import __version__, cli
from dispose_stages.cli import COMMANDS, SECTIONS, main
from dispose_stages.errors import StoreError


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["sample", "--help"]])
def test_help_imports_no_heavy_library(arguments):
    """Help appears at once; torch alone takes seconds."""
    code = (
        "import sys; from dispose_stages.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit: pass\n"
        "heavy = ('torch', 'zarr', 'pandas', 'snakemake', 'cv2', 'onnxruntime', 'PIL')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_overview_imports_no_configuration():
    """Not even pydantic is needed to list the commands."""
    code = (
        "import sys; from dispose_stages.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print('pydantic' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False"


def test_every_command_is_in_the_overview_once():
    """Nothing is hidden and nothing named that does not exist."""
    shown = [name for names in SECTIONS.values() for name in names]
    assert sorted(shown) == sorted(COMMANDS)
    result = CliRunner().invoke(cli.cli, ["--help"])
    for name, (_, line) in COMMANDS.items():
        assert f"  {name} " in result.output
        assert line.split(".")[0][:30] in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_its_options(name):
    """Help has a sentence for the command and for each option."""
    command = cli.cli.get_command(None, name)
    assert command.name == name
    assert len(command.help) > 40
    children = getattr(command, "commands", {}).values() or [command]
    for child in children:
        assert child.help
        for parameter in child.params:
            if parameter.param_type_name == "option":
                assert parameter.help, f"{child.name} {parameter.opts}"
    assert CliRunner().invoke(cli.cli, [name, "--help"]).exit_code == 0


def test_version():
    """As installed."""
    assert CliRunner().invoke(cli.cli, ["--version"]).output == f"dispose, version {__version__}\n"


def test_an_unknown_command_is_a_usage_error():
    """Exit status 2, as the shell's own commands do."""
    result = CliRunner().invoke(cli.cli, ["runn"])
    assert result.exit_code == 2
    assert "No such command 'runn'" in result.output


def test_errors_of_the_user_are_one_line(tmp_path, capsys):
    """No traceback, exit status 1."""
    with pytest.raises(SystemExit) as caught:
        main(["status", str(tmp_path)])
    assert caught.value.code == 1
    captured = capsys.readouterr()
    assert captured.err == f"error: {tmp_path} holds no planned run (no summary.json)\n"


def test_defects_keep_their_traceback(tmp_path, monkeypatch):
    """Anything but a DisposeError is passed on."""

    def broken(run_dir, files):
        raise ZeroDivisionError

    monkeypatch.setattr("dispose_stages.batch.outcomes.RunOutcomes.read", broken)
    with pytest.raises(ZeroDivisionError):
        main(["status", str(tmp_path)])


def test_a_path_that_cannot_be_is_one_line(tmp_path, capsys):
    """A file where a folder is wanted, no permission, a full disk: the user's to mend."""
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as caught:
        main(["init", str(tmp_path / "file" / "project")])
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"error: {tmp_path}/file/project/config: Not a directory\n"


def test_a_closed_pipe_is_no_traceback(monkeypatch, capsys):
    """`dispose status ... | head` ends quietly."""
    monkeypatch.setattr(sys, "stderr", open("/dev/null", "w"))  # noqa: PTH123, SIM115 - closed by main

    def closed(run_dir, files):
        raise BrokenPipeError

    monkeypatch.setattr("dispose_stages.batch.outcomes.RunOutcomes.read", closed)
    with pytest.raises(SystemExit):
        main(["status", "x"])


def test_module_is_the_command():
    """`python -m dispose_stages.cli` works where no script is installed."""
    command = [sys.executable, "-m", "dispose_stages.cli", "--version"]
    assert __version__ in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_store_errors_show_their_message():
    """The base class does not change it."""
    assert str(StoreError("x")) == "x"
