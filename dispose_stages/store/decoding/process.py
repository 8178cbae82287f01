"""The decoder process: ``python -m dispose_stages.store.decoding.process CHANNEL LIFELINE GIB``.

It answers requests over a socket until the job closes it or is gone. Signals that end a job are
blocked by the job before it starts this program (a terminal sends Ctrl-C to both); what ends it is
the end of the job.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import resource
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from dispose_stages.errors import Reason
from dispose_stages.store.decoding import ticks
from dispose_stages.store.decoding.channel import Message, receive, send
from dispose_stages.store.decoding.faults import MediaFaultError
from dispose_stages.store.decoding.images import decode_image, is_still
from dispose_stages.store.decoding.limits import SizeLimits
from dispose_stages.store.decoding.readers import OpenVideo


class Server:
    """Answers requests; holds one video open.

    Args:
        channel: To the job.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._video: OpenVideo | None = None
        self._answers: dict[str, Callable[[Message], None]] = {
            "open": self._open,
            "read": self._read,
            "inspect": self._inspect,
            "close": self._close,
            "image": self._image,
            "is_still": self._is_still,
        }

    def serve(self) -> None:
        """Answer until the job is gone."""
        while True:
            message = receive(self._channel)
            answer = self._answers.get(message.header["do"])
            if answer is None:
                continue  # what belonged to a stream that has ended meanwhile
            try:
                answer(message)
            except MediaFaultError as fault:
                self._send(_fault(fault))
            except MemoryError as error:
                self._send({"memory": str(error)})
            except EOFError:
                raise
            except Exception as error:  # noqa: BLE001 - the file's fault, as far as we can tell
                if getattr(error, "errno", None) == errno.ENOMEM:
                    self._send({"memory": str(error)})
                    continue
                what, detail = "the decoder gives up on it", traceback.format_exc()
                self._send(_fault(MediaFaultError(Reason.MEDIA_CRASHED, what, detail)))

    def _send(self, header: dict[str, Any], payload: bytes | memoryview = b"") -> None:
        send(self._channel, header, payload)

    def _open(self, message: Message) -> None:
        self._drop()
        header = message.header
        self._video = OpenVideo(header["path"], header["reader"], SizeLimits(*header["limits"]))
        self._send({"facts": asdict(self._video.facts)}, self._video.times.tobytes())

    def _opened(self) -> OpenVideo:
        if self._video is None:
            raise RuntimeError("no video is open")
        return self._video

    def _read(self, message: Message) -> None:
        """Put frames into slots of shared memory, no further ahead than there are slots."""
        video, slots = self._opened(), int(message.header["slots"])
        (descriptor,) = message.descriptors
        shape = (slots, video.facts.height, video.facts.width, 3)
        with os.fdopen(descriptor, "r+b") as file:
            memory = mmap.mmap(file.fileno(), int(np.prod(shape)))
        frames = np.frombuffer(memory, np.uint8).reshape(shape)
        waiting = 0
        for number, (index, frame) in enumerate(video.read(message.header["indices"])):
            if waiting == slots:
                if receive(self._channel).header["do"] == "stop":
                    break
                waiting -= 1
            frames[number % slots] = frame
            self._send({"index": index})
            waiting += 1
        self._send({"end": True})

    def _inspect(self, message: Message) -> None:  # noqa: ARG002 - one signature for all
        self._send({"found": asdict(self._opened().inspect())})

    def _image(self, message: Message) -> None:
        pixels = decode_image(message.header["path"], SizeLimits(*message.header["limits"]))
        height, width, _ = pixels.shape
        self._send({"height": height, "width": width}, pixels.tobytes())

    def _is_still(self, message: Message) -> None:
        self._send({"still": is_still(message.header["path"])})

    def _drop(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None

    def _close(self, message: Message) -> None:  # noqa: ARG002 - one signature for all
        self._drop()
        self._send({"closed": True})


def _fault(fault: MediaFaultError) -> dict[str, Any]:
    return {
        "fault": str(fault),
        "reason": str(fault.reason),
        "detail": fault.detail[-2000:],
        "missing": fault.missing,
    }


def _end_with(lifeline: int) -> None:
    """Have the kernel end this process when the other end of a pipe is closed.

    Also while a library hangs, and whichever thread of the job started this process (the kernel's
    parent-death signal goes with the thread).
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def main(channel: int, lifeline: int, memory_gib: float) -> None:
    """Serve the job at the other end of `channel`."""
    _end_with(lifeline)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = int(memory_gib * 2**30)
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        limit = min(limit, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))
    with socket.socket(fileno=channel) as connection:
        ticks.listen(lambda: send(connection, {"tick": True}))
        try:
            send(connection, {"ready": True})
            Server(connection).serve()
        except (EOFError, OSError):
            return  # the job is gone


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
