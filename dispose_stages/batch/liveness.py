"""Does the process that left a file behind still exist? Known only on its own machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def boot_id() -> str:
    """Changes with every boot of this machine; process numbers mean nothing across."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def this_process() -> dict[str, Any]:
    """What `is_gone` needs to know, for a JSON file."""
    return {"host": socket.gethostname(), "boot": boot_id(), "pid": os.getpid()}


def is_gone(process: Mapping[str, Any]) -> bool:
    """Whether `this_process` was called in a process of this machine that no longer exists."""
    if process.get("host") != socket.gethostname() or process.get("boot") != boot_id():
        return False
    pid = process.get("pid")
    return isinstance(pid, int) and not Path(f"/proc/{pid}").exists()
