"""What `dispose doctor` looks at in the environment: Python, packages, ffmpeg, ONNX Runtime."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement

from dispose_stages import __version__
from dispose_stages.batch.machine import cuda_available
from dispose_stages.batch.programs import ProgramError, answer
from dispose_stages.cli.finding import Finding
from dispose_stages.errors import DeviceError
from dispose_stages.store.ffmpeg import ffmpeg_binary

_TRIED = ((3, 11), (3, 13))
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")


def software() -> Iterator[Finding]:
    """All of it."""
    yield python()
    yield packages()
    yield ffmpeg()
    yield onnx_runtime()


def python() -> Finding:
    """The interpreter."""
    version, (oldest, newest) = sys.version_info[:2], _TRIED
    text = f"{sys.version.split()[0]}, {sys.executable}"
    remedy = "" if oldest <= version <= newest else "use Python 3.11 to 3.13, which are tested"
    return Finding("Python", text, remedy, stops=version < oldest)


def packages() -> Finding:
    """Whether what the program declares is what is installed."""
    try:
        declared = [Requirement(line) for line in metadata.requires("dispose-stages") or ()]
    except metadata.PackageNotFoundError:
        text = f"dispose-stages {__version__} is used without being installed"
        return Finding("packages", text, "pip install '.[cpu]' in the checkout", stops=False)
    wanted = [r for r in declared if r.marker is None or r.marker.evaluate({"extra": ""})]
    installed = [(requirement, _installed(requirement)) for requirement in wanted]
    wrong = [
        (requirement, version)
        for requirement, version in installed
        if not version or not requirement.specifier.contains(version, prereleases=True)
    ]
    if not wrong:
        return Finding(
            "packages", f"dispose-stages {__version__} and {len(wanted)} packages it needs"
        )
    text = ", ".join(f"{r.name} {found or 'is missing'}" for r, found in wrong)
    command = shlex.join(f"{r.name}{r.specifier}" for r, _ in wrong)
    return Finding("packages", text, f"pip install {command}")


def _installed(requirement: Requirement) -> str:
    try:
        return metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return ""


def ffmpeg() -> Finding:
    """The program, and the encoders that videos need."""
    remedy = "install ffmpeg with libx264 (apt install ffmpeg), or pip install imageio-ffmpeg"
    try:
        binary = ffmpeg_binary()
    except DeviceError:
        return Finding("ffmpeg", "is missing", remedy)
    try:
        listed = answer([binary, "-hide_banner", "-encoders"])
    except ProgramError as error:
        return Finding("ffmpeg", str(error), remedy)
    encoders = {words[1] for line in listed.splitlines() if len(words := line.split()) > 1}
    if missing := [name for name in ("libx264", "aac") if name not in encoders]:
        return Finding("ffmpeg", f"{binary} cannot encode {' and '.join(missing)}", remedy)
    return Finding("ffmpeg", f"{binary}, with libx264 and aac")


def onnx_runtime() -> Finding:
    """The package that finds poses: there are two, and only one may be there."""
    found = {d.metadata["Name"].lower().replace("_", "-") for d in metadata.distributions()}
    there = [name for name in _RUNTIMES if name in found]
    gpu = cuda_available()
    right = "'onnxruntime-gpu[cuda,cudnn]'" if gpu else "onnxruntime"
    if len(there) == len(_RUNTIMES):
        return Finding(
            "ONNX Runtime",
            "onnxruntime and onnxruntime-gpu are both installed; they write the same files, so "
            "which one runs is left to chance and GPUs go unused",
            f"pip uninstall -y {' '.join(_RUNTIMES)} && pip install {right}",
        )
    if not there:
        return Finding("ONNX Runtime", "is missing", f"pip install {right}")
    try:
        import onnxruntime
    except Exception as error:  # noqa: BLE001 - whatever a broken installation raises
        renew = f"pip install --force-reinstall --no-deps {there[0]}"
        return Finding("ONNX Runtime", f"cannot be imported: {error}", renew)
    return _providers(there[0], onnxruntime, right, gpu=gpu)


def _providers(name: str, runtime: Any, right: str, *, gpu: bool) -> Finding:
    providers = [p.removesuffix("ExecutionProvider") for p in runtime.get_available_providers()]
    text = f"{name} {runtime.__version__}, providers: {', '.join(providers)}"
    if gpu and "CUDA" not in providers:
        swap = f"pip uninstall -y {name} && pip install {right}"
        return Finding("ONNX Runtime", f"{text}: poses would not use the GPU", swap)
    return Finding("ONNX Runtime", text)
