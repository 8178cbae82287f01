from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.bench.gpu.__main__ import main
from tests.bench.gpu.parts import ABLATIONS, VARIANTS
from tests.bench.traffic.steps import SMALL, TileStep

pytestmark = pytest.mark.filterwarnings("ignore")  # the compiler's tracing trips over libraries


def test_the_benchmark_runs_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a CPU at toy width: every part, every variant, and figures that agree."""
    assert main(["--toy", "--json", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["step"].keys() == {*VARIANTS, *ABLATIONS}
    assert {"card", "driver", "torch", "triton", "cuda"} <= report["machine"].keys()
    assert all(values["psnr_db"] > 60 for values in report["step"].values())
    assert report["clip_seconds"].keys() == set(VARIANTS)
    assert 0 <= report["idle_share"] < 1
    assert "tile-step" in capsys.readouterr().out


def test_parts_can_be_chosen(tmp_path: Path) -> None:
    """Only these run."""
    path = tmp_path / "report.json"
    assert main(["--toy", "--parts", "matmul", "--json", str(path)]) == 0
    assert json.loads(path.read_text()).keys() == {"machine", "size", "matmul_tflops"}


@torch.no_grad()
def test_baseline_and_ours_compute_the_same() -> None:
    """So the baseline is the original's computation (float64, corrected order of contexts)."""
    tile = TileStep(SMALL, torch.device("cpu"), torch.float64)
    expected, actual = tile.original()(), tile.ours(compat="corrected")()
    assert (actual - expected).abs().max() <= 1e-9 * expected.abs().max()


def test_without_a_gpu_the_full_width_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Rather than hours on a CPU."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit):
        main([])
    assert "--toy" in capsys.readouterr().err
