"""`dispose doctor` with each thing missing in turn."""

import errno
import os
import resource
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from dispose_stages.cli import cli, doctor_machine, doctor_software
from dispose_stages.errors import DeviceError
from dispose_stages.shipped import shipped

GB = 10**9
SUBJECTS = ["Python", "packages", "ffmpeg", "ONNX Runtime", "GPU", "memory", "disk", "SLURM"]
SUBJECTS += ["file system", "locks", "limits"]


def script(folder, name, text):
    """A program of that name."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """The only folder of the search path, empty."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_every_line_is_ok_or_says_what_to_do(tmp_path, monkeypatch):
    """On this machine, whatever it is."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["doctor"], catch_exceptions=False)
    lines = done.output.splitlines()
    found = [line[6:].split(":")[0] for line in lines if line[:5].strip()]
    assert found == SUBJECTS
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line[:5].strip():
            assert (line[:5].strip() == "ok") != after.startswith("      -> ")
    assert done.exit_code == any(line.startswith("fix") for line in lines)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("version", "mark"), [((3, 10), "fix"), ((3, 11), "ok"), ((3, 13), "ok"), ((3, 14), "note")]
)
def test_python(monkeypatch, version, mark):
    """Older ones do not run, newer ones were not tried."""
    monkeypatch.setattr(sys, "version_info", version)
    assert doctor_software.python().mark == mark


def test_packages_that_are_missing_or_others(monkeypatch):
    """Each is named with the command that mends all of them."""
    real = metadata.version

    def version(name):
        if name == "einops":
            raise metadata.PackageNotFoundError(name)
        return "2.12.0" if name == "torch" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    finding = doctor_software.packages()
    assert finding.mark == "fix"
    assert "torch 2.12.0" in finding.text
    assert "einops is missing" in finding.text
    assert finding.remedy.startswith("pip install")
    assert "torch==2.13.0" in finding.remedy


def test_a_program_that_is_not_installed(monkeypatch):
    """It may run from a checkout all the same."""

    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    assert doctor_software.packages().mark == "note"


def test_no_ffmpeg(monkeypatch):
    """Neither the system's nor the package's."""

    def missing():
        raise DeviceError("no ffmpeg program")

    monkeypatch.setattr(doctor_software, "ffmpeg_binary", missing)
    assert doctor_software.ffmpeg().text == "is missing"
    assert doctor_software.ffmpeg().mark == "fix"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('echo " V....D libx264  H.264"; echo " A....D aac  AAC"', ""),
        ('echo " V....D mpeg4  MPEG"; echo " A....D aac  AAC"', "cannot encode libx264"),
        ("echo broken library >&2; exit 127", "broken library"),
    ],
)
def test_ffmpeg_and_its_encoders(monkeypatch, programs, text, word):
    """A build without H.264, or one that does not start."""
    binary = str(script(programs, "ffmpeg", text))
    monkeypatch.setattr(doctor_software, "ffmpeg_binary", lambda: binary)
    finding = doctor_software.ffmpeg()
    assert word in finding.text
    assert finding.mark == ("fix" if word else "ok")


def distribution(folder, name):
    """What pip leaves of an installed package."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")


def test_both_onnx_runtimes_are_found_and_explained(tmp_path, monkeypatch):
    """They overwrite one another; which to keep follows from the GPU."""
    distribution(tmp_path, "onnxruntime-gpu")
    distribution(tmp_path, "onnxruntime")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor_software, "cuda_available", lambda: True)
    finding = doctor_software.onnx_runtime()
    assert "both installed" in finding.text
    assert finding.remedy == (
        "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxruntime-gpu[cuda,cudnn]'"
    )
    monkeypatch.setattr(doctor_software, "cuda_available", lambda: False)
    assert doctor_software.onnx_runtime().remedy.endswith("pip install onnxruntime")


def test_no_onnx_runtime(monkeypatch):
    """Nothing finds poses."""
    monkeypatch.setattr(metadata, "distributions", list)
    assert doctor_software.onnx_runtime().text == "is missing"


def test_a_broken_onnx_runtime(tmp_path, monkeypatch):
    """Installed but without its library."""
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libcudart.so.13')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    finding = doctor_software.onnx_runtime()
    assert "libcudart.so.13" in finding.text
    assert "--force-reinstall" in finding.remedy


def test_a_runtime_without_the_gpu(monkeypatch):
    """Poses would be found on the CPU beside an idle GPU."""
    cpu = type("Runtime", (), {"__version__": "1", "get_available_providers": list})
    finding = doctor_software._providers("onnxruntime", cpu, "onnxruntime-gpu", gpu=True)
    assert "would not use the GPU" in finding.text
    assert finding.mark == "fix"


@pytest.mark.parametrize(("driver", "mark"), [(True, "fix"), (False, "note")])
def test_no_gpu(monkeypatch, driver, mark):
    """A card that cannot be used is a fault; a machine without one is not."""
    monkeypatch.setattr(doctor_machine, "cuda_available", lambda: False)
    monkeypatch.setattr(doctor_machine, "driver_present", lambda: driver)
    assert doctor_machine.gpu().mark == mark


def test_gpus_are_listed(monkeypatch):
    """With their memory."""
    import torch

    card = namedtuple("Card", "name total_memory")("Card X", 80 * GB)
    monkeypatch.setattr(doctor_machine, "cuda_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _index: card)
    assert doctor_machine.gpu().text == "Card X (80 GB), Card X (80 GB)"


@pytest.mark.parametrize(("total", "mark"), [(4, "fix"), (16, "note"), (64, "ok")])
def test_memory(tmp_path, monkeypatch, total, mark):
    """What the session may use counts, where that is less than the machine has."""
    monkeypatch.setattr(doctor_machine, "_CGROUP", tmp_path / "memory.max")
    (tmp_path / "memory.max").write_text(f"{total * GB}\n")
    whole = namedtuple("Memory", "total")(128 * GB)
    monkeypatch.setattr(doctor_machine.psutil, "virtual_memory", lambda: whole)
    assert doctor_machine.memory().mark == mark
    (tmp_path / "memory.max").write_text("max\n")
    assert doctor_machine.memory().mark == "ok"


@pytest.mark.parametrize(("free", "mark"), [(1, "fix"), (10, "note"), (100, "ok")])
def test_disk(tmp_path, monkeypatch, free, mark):
    """Of the folder in which results will lie."""
    usage = namedtuple("Usage", "free")(free * GB)
    monkeypatch.setattr(doctor_machine.shutil, "disk_usage", lambda _folder: usage)
    finding = doctor_machine.disk(tmp_path)
    assert finding.mark == mark
    assert str(tmp_path) in finding.text


def test_slurm(programs, tmp_path, monkeypatch):
    """None, one that does not answer, one with other partitions, and one that fits."""
    monkeypatch.chdir(tmp_path)
    assert doctor_machine.slurm().mark == "ok"
    script(programs, "sbatch", "")
    assert doctor_machine.slurm().mark == "note"
    script(programs, "sinfo", "echo Unable to contact controller >&2; exit 1")
    assert "Unable to contact controller" in doctor_machine.slurm().text
    script(programs, "sinfo", "echo cpu; echo a100")
    finding = doctor_machine.slurm()
    assert finding.text == "partitions a100, cpu"
    assert "names gpu;" in finding.remedy
    script(programs, "sinfo", "echo cpu; echo gpu")
    assert doctor_machine.slurm().mark == "ok"


def test_the_projects_own_profile_counts(programs, tmp_path, monkeypatch):
    """An adapted copy in the working directory, and a damaged one."""
    monkeypatch.chdir(tmp_path)
    script(programs, "sbatch", "")
    script(programs, "sinfo", "echo main")
    profile = tmp_path / "profiles/slurm/config.yaml"
    profile.parent.mkdir(parents=True)
    text = shipped("profiles/slurm/config.yaml").read_text()
    assert "slurm_partition" in yaml.safe_load(text)["default-resources"]
    profile.write_text(text.replace("partition: cpu", "partition: main").replace(
        "partition: gpu", "partition: main"
    ))  # fmt: skip
    assert doctor_machine.slurm().mark == "ok"
    profile.write_text("{")
    assert "mend the profile" in doctor_machine.slurm().remedy


@pytest.mark.parametrize("kind", ["nfs4", "ext4"])
def test_the_file_system(programs, tmp_path, monkeypatch, kind):
    """On a cluster a folder of this machine alone is of no use."""
    mount = namedtuple("Mount", "mountpoint fstype")
    mounts = [mount("/", "overlay"), mount(str(tmp_path), kind)]
    monkeypatch.setattr(doctor_machine.psutil, "disk_partitions", lambda **_all: mounts)
    assert doctor_machine.file_system(tmp_path / "below").mark == "ok"
    script(programs, "sbatch", "")
    assert doctor_machine.file_system(tmp_path).mark == ("ok" if kind == "nfs4" else "note")
    assert doctor_machine.file_system(Path("/")).text.startswith("overlay")


def test_no_locks_and_no_writing(tmp_path, monkeypatch):
    """A mount without flock, and a folder that is not there."""
    assert doctor_machine.locks(tmp_path).mark == "ok"
    assert doctor_machine.locks(tmp_path / "none").mark == "fix"

    def flock(_stream, _how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(doctor_machine.fcntl, "flock", flock)
    assert "No locks available" in doctor_machine.locks(tmp_path).text


@pytest.mark.parametrize(
    ("limit", "value", "remedy"),
    [
        (resource.RLIMIT_NOFILE, 256, "ulimit -n"),
        (resource.RLIMIT_FSIZE, 1000, "ulimit -f"),
        (None, 0, ""),
    ],
)
def test_limits(tmp_path, monkeypatch, limit, value, remedy):
    """Of the shell."""
    real = resource.getrlimit
    high = {resource.RLIMIT_NOFILE: 4096, resource.RLIMIT_FSIZE: resource.RLIM_INFINITY}
    high |= {limit: value} if limit is not None else {}
    monkeypatch.setattr(resource, "getrlimit", lambda what: (high.get(what, real(what)[0]), 0))
    finding = doctor_machine.limits(tmp_path)
    assert finding.remedy.startswith(remedy)
    assert finding.mark == ("fix" if remedy else "ok")


def test_a_quota_of_files(tmp_path, monkeypatch):
    """Inodes run out before bytes do."""
    status = namedtuple("Status", "f_files f_favail")
    monkeypatch.setattr(os, "statvfs", lambda _folder: status(10**6, 500))
    assert "500 files" in doctor_machine.limits(tmp_path).text
