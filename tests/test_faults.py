import errno
import weakref

import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, RuntimeException

from dispose_stages.errors import Reason, StoreError, UnitError
from dispose_stages.faults import descend, is_out_of_memory, machine_fault
from dispose_stages.store.artifacts import ArtifactStore

NO_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeException("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer"),
    Fail("[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory"),
]
DEAD_GPU = [
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be reported"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    Fail("[ONNXRuntimeError] : 1 : FAIL : CUDA failure 700: an illegal memory access"),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: str(error)[-30:])
def test_every_librarys_lack_of_memory_is_known(error):
    """Also wrapped into another error; it is no fault that ends the job."""
    outer = ValueError("while computing")
    outer.__cause__ = error
    assert is_out_of_memory(outer)
    assert machine_fault(outer) == ""


@pytest.mark.parametrize("error", DEAD_GPU, ids=lambda error: str(error)[:40])
def test_a_dead_gpu_is_the_machines_fault(error):
    """Nothing more can be computed in this process."""
    assert "GPU" in machine_fault(error)
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "free space"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "input/output"),
        (errno.EMFILE, "ulimit"),
        (errno.ESTALE, "network file system"),
    ],
)
def test_faults_of_storage_say_what_to_do(number, words):
    """Also where a library or this program has wrapped the operating system's error."""
    fault = OSError(number, "as the system says", "/data/x")
    assert words in machine_fault(fault)
    assert "/data/x" in machine_fault(fault)
    wrapped = StoreError("cannot be written")
    wrapped.__cause__ = fault
    assert words in machine_fault(wrapped)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "no such file"),
        PermissionError(errno.EACCES, "not allowed"),
        RuntimeError("CUDA error: invalid configuration argument"),
        UnitError(Reason.NUMERIC, "not finite"),
        KeyError("x"),
    ],
)
def test_what_lies_in_data_or_code_is_no_fault_of_the_machine(error):
    """It would happen again, anywhere."""
    assert machine_fault(error) == ""
    assert not is_out_of_memory(error)


def test_a_full_disk_under_the_store_is_known(tmp_path, monkeypatch):
    """What the store raises leads back to it."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dispose_stages.atomic.os.fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        ArtifactStore(tmp_path).write_partial("pose", "ab" * 8, {}, {"step": 1})
    assert "free space" in machine_fault(caught.value)


@pytest.mark.parametrize("failures", range(3))
def test_lack_of_memory_goes_one_rung_down(failures):
    """Each failure costs a rung; the rung that worked is told."""
    tried = []

    def attempt(name):
        tried.append(name)
        if len(tried) <= failures:
            raise NO_MEMORY[len(tried)]
        return "done"

    rungs = {name: (lambda name=name: attempt(name)) for name in "abc"}
    assert descend(rungs) == ("done", "abc"[failures])
    assert tried == list("abc")[: failures + 1]


def test_below_the_last_rung_the_unit_fails():
    """A typed reason, so that the unit can be retried elsewhere."""

    def attempt():
        raise torch.OutOfMemoryError("fake")

    with pytest.raises(UnitError, match="'b'") as error:
        descend({"a": attempt, "b": attempt})
    assert error.value.reason is Reason.OUT_OF_MEMORY


def test_other_errors_are_not_retried():
    """A defect stays a defect."""
    tried = []

    def attempt():
        tried.append(1)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        descend({"a": attempt, "b": attempt})
    assert len(tried) == 1


def test_the_failed_attempt_is_let_go():
    """Tensors of the failed attempt are free before the next one begins."""

    class Tensorlike:
        pass

    held = []

    def first():
        activation = Tensorlike()
        held.append(weakref.ref(activation))
        raise torch.OutOfMemoryError("fake")

    freed, _ = descend({"a": first, "b": lambda: held[0]() is None})
    assert freed
