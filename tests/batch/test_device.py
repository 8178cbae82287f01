import pytest

from dispose_stages.batch import machine as device
from dispose_stages.batch.machine import settle_device
from dispose_stages.config import Compute
from dispose_stages.errors import DeviceError


def yes():
    return True


def no():
    return False


@pytest.mark.parametrize(
    ("compute", "stage", "available", "expected"),
    [
        (Compute(), "sample", yes, "cuda"),
        (Compute(), "sample", no, "cpu"),
        (Compute(device="cpu"), "sample", yes, "cpu"),
        (Compute(device="cuda"), "ingest", yes, "cpu"),
        (Compute(device="cuda"), "ingest", no, "cpu"),
        (Compute(device="cuda", allow_cpu=False), "pose", yes, "cuda"),
    ],
)
def test_settled_device(compute, stage, available, expected):
    """The configuration decides, then what is there; a stage without networks needs no GPU."""
    assert settle_device(compute, stage, available) == expected


def test_an_absent_gpu_that_was_asked_for_is_an_error_with_its_cause():
    """The message names the likely reason."""
    with pytest.raises(DeviceError, match=r"no GPU can be used: .*(torch|driver|CUDA)"):
        settle_device(Compute(device="cuda"), "pose", no)


@pytest.mark.parametrize("asked", ["auto", "cpu"])
def test_a_gpu_stage_on_the_cpu_can_be_forbidden(asked):
    """allow_cpu off turns a silent slow run into an error."""
    with pytest.raises(DeviceError, match="allow_cpu is off"):
        settle_device(Compute(device=asked, allow_cpu=False), "sample", no)


def test_hidden_gpus_are_recognised(monkeypatch):
    """An empty CUDA_VISIBLE_DEVICES is named as the cause."""
    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "hides every GPU" in device.why_no_cuda()
