"""Settings of all tests."""

import os

import pytest

# Before torch is imported anywhere: two workers on two cores must not fight over threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Triton reads it when it is first imported. Its kernels run without a GPU then, and not on one.
if not os.path.exists("/dev/nvidiactl"):  # noqa: PTH110 - nothing else is imported yet
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """The folder of a finished run of the tiny bundle; to be read, not changed."""
    from tests.tiny_run import make_tiny_run  # imports torch

    root = tmp_path_factory.mktemp("tiny_run")
    make_tiny_run(root)
    return root
