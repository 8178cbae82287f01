"""What importing a stage brings along; start-up is paid by every job."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dispose_stages.config import STAGES
from dispose_stages.shipped import shipped

HEAVY = {
    "accelerate", "diffusers", "onnx", "pandas", "peft", "pyarrow", "scipy", "snakemake",
    "torch._dynamo", "torch._inductor", "torchvision", "transformers", "triton",
}  # fmt: skip
"""No stage needs these to be imported; each costs up to seconds."""
NO_TORCH = {"torch", "zarr"}


def imported(module: str, then: str = "") -> set[str]:
    program = f"import sys, {module}\n{then}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_only_what_it_needs(stage: str) -> None:
    """Neither the libraries of training nor the compiler; its parameters not even torch."""
    assert not imported(f"dispose_stages.{stage}.stage") & HEAVY


@pytest.mark.parametrize("stage", STAGES)
def test_parameters_of_a_stage_need_no_torch(stage: str) -> None:
    """Planning reads them in every job."""
    assert not imported(f"dispose_stages.{stage}.unit") & (HEAVY | NO_TORCH)


OPENED = {
    "correspondence": "load_dift(root / layout.SD15, prompt='a person', device='cpu')",
    "motion": "load_cmp(root / layout.CMP, device='cpu')",
    "mux": "load_vae(root / layout.SVD)",
    "sample": "load_networks(root, torch.float32, Placement(torch.device('cpu')))",
}


@pytest.mark.parametrize("stage", OPENED)
def test_opening_networks_imports_no_compiler(stage: str) -> None:
    """Nor SymPy: values that a checkpoint replaces are never drawn."""
    program = f"""
from pathlib import Path
from dispose_stages.{stage}.stage import *
from dispose_stages.weights import layout
root = Path({str(shipped("bundles/small"))!r})
{OPENED[stage]}
"""
    modules = imported(f"dispose_stages.{stage}.stage", program)
    assert "torch" in modules
    assert not modules & (HEAVY | {"sympy"})


EXTRA = ("diffusers", "onnx", "transformers")
"""What `pip install dispose-stages` does not bring."""
MAKING_BUNDLES = {
    *(f"dispose_stages.training.bundle.{name}" for name in ("export", "small", "tiny")),
    *(f"dispose_stages.training.{name}" for name in ("bundle.train_pose", "steps")),
}


def without_extras(program: str) -> subprocess.CompletedProcess[str]:
    absent = f"import sys; sys.modules.update(dict.fromkeys({EXTRA}))\n"
    command = [sys.executable, "-c", absent + program]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_only_the_makers_of_bundles_need_the_extra() -> None:
    """Stages, reports, scores, exports and benchmarks are there without it."""
    program = """
import importlib, pkgutil, dispose_stages
for module in pkgutil.walk_packages(dispose_stages.__path__, "dispose_stages."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        print(module.name, error.name)
"""
    done = without_extras(program)
    assert done.returncode == 0, done.stderr
    failed = dict(line.split() for line in done.stdout.splitlines())
    known = {name for name, lacks in failed.items() if lacks in EXTRA}
    assert known == MAKING_BUNDLES


def test_a_command_that_needs_the_extra_names_it() -> None:
    """One line with what brings it."""
    done = without_extras(
        "from dispose_stages.cli import main; main(['weights', 'make-tiny', 'x'])"
    )
    assert done.returncode == 1
    assert done.stderr == (
        "error: this needs diffusers, which pip install 'dispose-stages[train]' brings\n"
    )
