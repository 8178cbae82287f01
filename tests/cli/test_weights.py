from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from dispose_stages.cli import cli


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with one pickled checkpoint."""
    torch.save({"unet.conv_in.weight": torch.ones(2, 3)}, tmp_path / "MimicMotion_1-1.pth")
    return tmp_path


def test_convert_writes_each_file_once(models: Path) -> None:
    """A second call finds the conversion up to date; a changed source is converted again."""
    command = ["weights", "convert", "--root", str(models)]
    first = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert "MimicMotion_1-1.safetensors: written" in first.output
    assert "is up to date" in CliRunner().invoke(cli, command, catch_exceptions=False).output
    torch.save({"unet.conv_in.weight": torch.ones(4, 3)}, models / "MimicMotion_1-1.pth")
    assert "written" in CliRunner().invoke(cli, command, catch_exceptions=False).output
