"""Settings of all tests."""

import os

# Before torch is imported anywhere: two workers on two cores must not fight over threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Triton reads it when it is first imported. Its kernels run without a GPU then, and not on one.
if not os.path.exists("/dev/nvidiactl"):  # noqa: PTH110 - nothing else is imported yet
    os.environ.setdefault("TRITON_INTERPRET", "1")
