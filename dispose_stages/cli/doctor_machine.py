"""What `dispose doctor` looks at in the machine: GPU, memory, disk, SLURM, file system, limits."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from dispose_stages.batch.machine import cuda_available, driver_present, why_no_cuda
from dispose_stages.batch.programs import ProgramError, answer
from dispose_stages.cli.finding import Finding
from dispose_stages.config_text import read_config_file
from dispose_stages.errors import ConfigError
from dispose_stages.shipped import here_or_shipped

_GB = 10**9
_PROFILE = Path("profiles/slurm/config.yaml")
_NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "fuse.ceph", "glusterfs"),
    *("fuse.glusterfs", "afs", "orangefs", "panfs", "wekafs", "fuse.sshfs", "9p", "virtiofs"),
}
_CGROUP = Path("/sys/fs/cgroup/memory.max")
_FILES = 1024
_INODES = 100_000


def machine(folder: Path) -> Iterator[Finding]:
    """All of it.

    Args:
        folder: Where results and store will lie.
    """
    yield gpu()
    yield memory()
    yield disk(folder)
    yield slurm()
    yield file_system(folder)
    yield locks(folder)
    yield limits(folder)


def gpu() -> Finding:
    """What the networks run on."""
    if not cuda_available():
        text, driver = f"none can be used: {why_no_cuda()}", driver_present()
        remedy = (
            "mend that (`nvidia-smi` shows the driver), or pass --set compute.device=cpu"
            if driver
            else "the published models need one; the small bundle and looking at results do not"
        )
        return Finding("GPU", text, remedy, stops=driver)
    import torch

    cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return Finding("GPU", ", ".join(f"{c.name} ({c.total_memory / _GB:.0f} GB)" for c in cards))


def memory() -> Finding:
    """Of the machine, or of what this session may use of it."""
    total = psutil.virtual_memory().total
    with suppress(OSError, ValueError):  # no limit, or none that is said there
        total = min(total, int(_CGROUP.read_text()))
    text = f"{total / _GB:.0f} GB"
    if total < 6 * _GB:
        return Finding("memory", text, "even the small bundle wants 6 GB")
    if total < 32 * _GB:
        remedy = "with the published models `sample` wants 32 GB; the small bundle is content"
        return Finding("memory", text, remedy, stops=False)
    return Finding("memory", text)


def disk(folder: Path) -> Finding:
    """Room for results, artifacts and checkpoints."""
    free = shutil.disk_usage(folder).free
    text = f"{free / _GB:.0f} GB free in {folder}"
    if free < 2 * _GB:
        return Finding("disk", text, "make room, or set `results` and `store` to another disk")
    if free < 20 * _GB:
        remedy = "the published models take 10 GB, a pair some tens of megabytes"
        return Finding("disk", text, remedy, stops=False)
    return Finding("disk", text)


def slurm() -> Finding:
    """Whether a cluster answers, and knows the partitions that the profile names."""
    if shutil.which("sbatch") is None:
        return Finding("SLURM", "not on this machine; runs are local")
    try:
        listed = answer(["sinfo", "--noheader", "--format", "%R"])
    except ProgramError as error:
        remedy = "is this a login node, and is the controller up?"
        return Finding("SLURM", str(error), remedy, stops=False)
    there = sorted(set(listed.split()))
    text = f"partitions {', '.join(there) or 'none'}"
    path = here_or_shipped(_PROFILE)
    try:
        named = _partitions(read_config_file(path))
    except ConfigError as error:
        return Finding("SLURM", text, f"mend the profile: {error}")
    if absent := sorted(named - set(there)):
        remedy = (
            f"{path} names {', '.join(absent)}; adapt the lines marked SITE in a copy of your own "
            "(`dispose init`)"
        )
        return Finding("SLURM", text, remedy, stops=False)
    return Finding("SLURM", text)


def _partitions(profile: dict[str, Any]) -> set[str]:
    sections = [profile.get("default-resources"), *(profile.get("set-resources") or {}).values()]
    values = (section.get("slurm_partition") for section in sections if isinstance(section, dict))
    return {str(value) for value in values if value}


def file_system(folder: Path) -> Finding:
    """Whether nodes of a cluster would see what is written here."""
    kind = _kind(folder)
    if kind in _NETWORK:
        return Finding("file system", f"{kind}, which other machines may share")
    text = f"{kind}, of this machine alone"
    if shutil.which("sbatch") is None:
        return Finding("file system", text)
    remedy = "for runs on a cluster work in a folder that all nodes see under the same path"
    return Finding("file system", text, remedy, stops=False)


def _kind(folder: Path) -> str:
    mounts = {Path(m.mountpoint): m.fstype for m in psutil.disk_partitions(all=True)}
    here = folder.resolve()
    return next((mounts[p] for p in (here, *here.parents) if p in mounts), "unknown")


def locks(folder: Path) -> Finding:
    """Runs and jobs hold locks of the operating system."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".dispose-doctor-") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        remedy = "work in a folder that you may write to and that is mounted with locks (flock)"
        return Finding("locks", f"{folder}: {error.strerror}", remedy)
    return Finding("locks", f"files in {folder} can be written and locked")


def limits(folder: Path) -> Finding:
    """Of open files, file size and number of files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    size, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    status = os.statvfs(folder)
    if 0 <= soft < _FILES:
        return Finding("limits", f"{soft} open files", "ulimit -n 4096")
    if size != resource.RLIM_INFINITY:
        return Finding("limits", f"files of at most {size / _GB:.2f} GB", "ulimit -f unlimited")
    if status.f_files > 0 and status.f_favail < _INODES:
        remedy = "a pair makes some ten files; ask for a larger quota of files (inodes)"
        return Finding("limits", f"{status.f_favail:,} files can be made", remedy, stops=False)
    return Finding("limits", f"{'any number of' if soft < 0 else soft} open files, any size")
