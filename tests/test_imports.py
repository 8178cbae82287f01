"""What importing a stage brings along; start-up is paid by every job."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dispose_stages.config import STAGES

HEAVY = {
    "accelerate", "diffusers", "onnx", "pandas", "peft", "pyarrow", "scipy", "snakemake",
    "torch._dynamo", "torch._inductor", "torchvision", "transformers", "triton",
}  # fmt: skip
"""No stage needs these to be imported; each costs up to seconds."""
NO_TORCH = {"torch", "zarr"}


def imported(module: str) -> set[str]:
    program = f"import sys, {module}; print('\\n'.join(sys.modules))"
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
