"""The job's hold on one decoder process."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import dispose_stages
from dispose_stages.config import Compute
from dispose_stages.errors import DeviceError, Reason
from dispose_stages.store.decoding.channel import Message, receive, send

_logger = logging.getLogger(__name__)
_PROGRAM = "dispose_stages.store.decoding.process"
_START_SECONDS = 120.0
_STOP_SECONDS = 2.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Sent to whole groups of processes to end a job; the job decides when its decoder ends."""

Fate = Literal["crashed", "killed", "timeout", "memory"]


class DecoderLostError(Exception):
    """The decoder process is gone or has to go.

    Attributes:
        fate: What became of it.
    """

    def __init__(self, fate: Fate, detail: str) -> None:
        super().__init__(f"{fate}: {detail}")
        self.fate: Fate = fate


class FaultError(Exception):
    """The decoder says that the file cannot be used.

    Attributes:
        missing: Index of the frame that cannot be decoded, if that is the fault.
    """

    def __init__(self, header: dict[str, Any]) -> None:
        super().__init__(header["fault"])
        self.reason = Reason(header["reason"])
        self.missing: int | None = header["missing"]


class Decoder:
    """One decoder process.

    Raises:
        DeviceError: It cannot be started on this machine.
    """

    def __init__(self, compute: Compute) -> None:
        self.compute = compute
        self.fresh = True
        self._stderr = os.memfd_create("decoder-stderr", os.MFD_CLOEXEC)
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        lifeline, self._lifeline = os.pipe()
        try:
            self._process = self._start(theirs.fileno(), lifeline)
        finally:
            theirs.close()
            os.close(lifeline)
        self._channel.settimeout(_START_SECONDS)
        try:
            receive(self._channel)
        except (EOFError, OSError) as error:
            detail = self._last_words()
            self.kill()
            raise DeviceError(f"the decoder process does not start: {detail}") from error
        self._channel.settimeout(compute.decode_timeout)

    def _start(self, channel: int, lifeline: int) -> subprocess.Popen[bytes]:
        root = str(Path(dispose_stages.__file__).parent.parent)
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        arguments = (channel, lifeline, self.compute.decode_memory)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:  # the mask is inherited
            return subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
                [sys.executable, "-P", "-m", _PROGRAM, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                pass_fds=(channel, lifeline),
                env={**os.environ, **threads, "PYTHONPATH": path},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def send(self, header: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send a request.

        Raises:
            DecoderLostError: The process is gone.
        """
        try:
            send(self._channel, header, descriptors=descriptors)
        except OSError as error:
            raise self._lost(error) from error

    def receive(self) -> Message:
        """The next answer.

        Raises:
            FaultError: The file cannot be used.
            DecoderLostError: The process is gone, hangs, or has no memory left.
        """
        while True:
            try:
                message = receive(self._channel)
            except (EOFError, OSError) as error:
                raise self._lost(error) from error
            if "tick" in message.header:
                continue
            if "memory" in message.header:
                self.kill()
                raise DecoderLostError("memory", message.header["memory"])
            if "fault" in message.header:
                _logger.info("decoder: %s: %s", message.header["fault"], message.header["detail"])
                raise FaultError(message.header)
            return message

    def ask(self, header: dict[str, Any]) -> Message:
        """Send a request and wait for its answer; raises as `send` and `receive` do."""
        self.send(header)
        return self.receive()

    def stop_stream(self) -> None:
        """End a stream of frames early; kills a process that does not."""
        self._channel.settimeout(_STOP_SECONDS)
        try:
            self.send({"do": "stop"})
            while "end" not in self.receive().header:
                pass
        except FaultError:
            pass  # the stream ended by itself
        except DecoderLostError:
            self.kill()
            return
        self._channel.settimeout(self.compute.decode_timeout)

    def _lost(self, error: Exception) -> DecoderLostError:
        if isinstance(error, TimeoutError):
            self.kill()
            return DecoderLostError("timeout", f"no answer in {self.compute.decode_timeout:g} s")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        status, words = self._process.poll(), self._last_words()
        self.kill()
        fate: Fate = "killed" if status == -signal.SIGKILL else "crashed"
        return DecoderLostError(fate, f"status {status}: {words}")

    def _last_words(self) -> str:
        size = os.fstat(self._stderr).st_size
        return os.pread(self._stderr, 2000, max(0, size - 2000)).decode(errors="replace").strip()

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None and self._channel.fileno() >= 0

    def kill(self) -> None:
        """End it, whatever it does."""
        if self._channel.fileno() < 0:
            return
        self._process.kill()
        self._process.wait()
        self._forget()

    def _forget(self) -> None:
        self._channel.close()
        os.close(self._lifeline)
        os.close(self._stderr)

    def disown(self) -> None:
        """In a forked child: it belongs to the parent."""
        self._process.returncode = 0
        self._forget()
