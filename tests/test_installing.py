"""Every way to install is the one that the README names."""

import platform
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import dispose_stages
from dispose_stages.weights.layout import FILES

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
DOCKER = (REPOSITORY / "containers/Dockerfile").read_text()
APPTAINER = (REPOSITORY / "containers/apptainer.def").read_text()
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
_INSTALLING = re.compile(r"^\W*(?:RUN )?((?:apt-get|pip) install [^#\n\\]*)", re.MULTILINE)


def installing(text):
    """Commands that install something, whatever the extra and the quotes."""
    commands = (" ".join(command.split()) for command in _INSTALLING.findall(text))
    plain = (re.sub(r"""['"]?\.\[.*?\]['"]?$""", ".[EXTRA]", command) for command in commands)
    return list(plain)


@pytest.mark.parametrize("recipe", [DOCKER, APPTAINER], ids=["Docker", "Apptainer"])
def test_a_recipe_installs_as_the_readme_does(recipe):
    """The same packages of the system, the same command of pip, in the same order."""
    assert len(installing(README)) == 2
    assert installing(recipe) == installing(README)


def test_another_command_would_be_found():
    """The comparison can fail."""
    other = DOCKER.replace("-c constraints.txt ", "")
    assert other != DOCKER
    assert installing(other) != installing(README)


def test_both_recipes_begin_alike():
    """One base image, of a Python that the package takes; a GPU's extra unless another is asked."""
    (docker,) = re.findall(r"^FROM (\S+)", DOCKER, re.MULTILINE)
    (apptainer,) = re.findall(r"^From: (\S+)", APPTAINER, re.MULTILINE)
    assert docker == apptainer
    assert docker.startswith("python:3.11-")
    assert PROJECT["requires-python"] == ">=3.11"
    for recipe in (DOCKER, APPTAINER):
        (extra,) = re.findall(r"^\W*(?:ARG )?EXTRA=(\w+)$", recipe, re.MULTILINE)
        assert f"'.[{extra}]'" in README
        assert extra in PROJECT["optional-dependencies"]
    assert 'exec dispose "$@"' in APPTAINER
    assert 'ENTRYPOINT ["dispose"]' in DOCKER


def test_the_sections_of_the_apptainer_recipe_are_known():
    """A misspelt section would be ignored silently."""
    sections = re.findall(r"^%(\w+)", APPTAINER, re.MULTILINE)
    assert sections == ["arguments", "files", "post", "runscript", "test", "help"]
    post = APPTAINER.partition("%post")[2].partition("%runscript")[0]
    subprocess.run(["bash", "-n"], input=post, text=True, check=True)


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="no hadolint is packaged"
)
def test_the_dockerfile_passes_its_linter():
    """Warnings included."""
    hadolint = Path(sys.executable).with_name("hadolint")
    command = [hadolint, "--no-color", REPOSITORY / "containers/Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_images_leave_out_what_runs_make():
    """And the history; everything that the package is built from goes in."""
    left_out = set((REPOSITORY / ".dockerignore").read_text().split())
    assert {".git", ".venv", "/results", "/store", "/models"} <= left_out
    assert not {f"/{name}" for name in built_from()} & left_out


def built_from():
    """Files and folders at the top that the wheel is built from."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    names = {path.split("/")[0] for path in (*wheel["only-include"], *wheel["force-include"])}
    assert all((REPOSITORY / name).exists() for name in names)
    return names | {
        "pyproject.toml",
        "constraints.txt",
        PROJECT["readme"],
        *PROJECT["license-files"],
    }


def test_the_apptainer_image_gets_what_is_built_from():
    """All of it and nothing else; a folder of results or an environment would go along with `.`."""
    lines = APPTAINER.partition("%files")[2].partition("%post")[0].split("\n")
    copied = [line.split() for line in lines if line.strip()]
    assert {source for source, _ in copied} == built_from()
    assert {target for _, target in copied} == {"/opt/dispose/"}


def test_conda_brings_no_cuda_of_its_own():
    """pip's packages bring the libraries that torch and ONNX Runtime are built against."""
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    names = {re.split(r"[<>=]", package)[0] for package in conda}
    assert names == {"python", "pip", "ffmpeg"}
    assert pip["pip"] == ["--constraint constraints.txt", ".[gpu]"]
    (gpu,) = PROJECT["optional-dependencies"]["gpu"]
    assert gpu.startswith("onnxruntime-gpu[cuda,cudnn]")


def test_the_citation_is_of_this_version():
    """Required fields of the format, and what else is said of the package."""
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == dispose_stages.__version__ == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    (paper,) = citation["references"]
    assert "2412.09349" in paper["url"]
    assert paper["url"] in README


def test_every_publisher_has_a_licence_in_the_table():
    """A checkpoint of another origin needs a row."""
    page = (REPOSITORY / "docs/licences.md").read_text()
    for repository in {file.repository for file in FILES}:
        assert f"https://huggingface.co/{repository})" in page
    rules = re.findall(r"^\d+\. ", page.partition("## Responsible use")[2], re.MULTILINE)
    assert len(rules) == 10
