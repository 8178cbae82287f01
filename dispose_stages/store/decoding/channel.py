"""Messages between a job and its decoder process: a JSON header, then raw bytes."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_LENGTHS = struct.Struct("!IQ")
_MAX_HEADER = 1 << 26
_MAX_PAYLOAD = 1 << 31


@dataclass(frozen=True, slots=True)
class Message:
    """What arrived.

    Attributes:
        descriptors: Open files that came along; the receiver closes them.
    """

    header: dict[str, Any]
    payload: bytearray
    descriptors: tuple[int, ...] = ()


def send(
    channel: socket.socket,
    header: dict[str, Any],
    payload: bytes | memoryview = b"",
    descriptors: Sequence[int] = (),
) -> None:
    """Send one message.

    Raises:
        OSError: The other side is gone.
    """
    text = json.dumps(header).encode()
    payload = memoryview(payload).cast("B")
    # Descriptors travel with the fixed head, which is too short to be sent in pieces.
    socket.send_fds(channel, [_LENGTHS.pack(len(text), len(payload))], list(descriptors))
    channel.sendall(text)
    if payload:
        channel.sendall(payload)


def receive(channel: socket.socket) -> Message:
    """Wait for one message, as long as the socket's timeout allows between two pieces of it.

    Raises:
        TimeoutError: Nothing came.
        EOFError: The other side is gone, or talks nonsense.
    """
    try:
        head, descriptors, _, _ = socket.recv_fds(channel, _LENGTHS.size, 1)
        if len(head) < _LENGTHS.size:
            for descriptor in descriptors:
                os.close(descriptor)
            raise EOFError("the channel is closed")
        header_size, payload_size = _LENGTHS.unpack(head)
        if header_size > _MAX_HEADER or payload_size > _MAX_PAYLOAD:
            raise EOFError("the message is too long")
        header = json.loads(_receive_exactly(channel, header_size))
        return Message(header, _receive_exactly(channel, payload_size), tuple(descriptors))
    except (ConnectionError, ValueError) as error:
        raise EOFError("the channel is broken") from error


def _receive_exactly(channel: socket.socket, size: int) -> bytearray:
    content = bytearray(size)
    view = memoryview(content)
    while view:
        count = channel.recv_into(view)
        if count == 0:
            raise EOFError("the channel is closed")
        view = view[count:]
    return content
