"""Decoder processes: started when needed, kept warm, replaced when one is lost."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from pathlib import Path
from typing import Any

from dispose_stages.config import Compute
from dispose_stages.errors import Reason, UnitError
from dispose_stages.store.decoding.channel import Message
from dispose_stages.store.decoding.decoder import Decoder, DecoderLostError, FaultError

_logger = logging.getLogger(__name__)
_KEPT = 1
"""Idle processes that are kept."""


class _Pool:
    """Idle decoder processes of this process."""

    def __init__(self) -> None:
        self._idle: list[Decoder] = []
        self._lock = threading.Lock()

    def take(self, compute: Compute, *, fresh: bool) -> Decoder:
        with self._lock:
            fitting = [decoder for decoder in self._idle if decoder.compute == compute]
            if fitting and not fresh:
                self._idle.remove(fitting[0])
                if fitting[0].alive:
                    return fitting[0]
                fitting[0].kill()
        return Decoder(compute)

    def give_back(self, decoder: Decoder) -> None:
        decoder.fresh = False
        with self._lock:
            if decoder.alive and len(self._idle) < _KEPT:
                self._idle.append(decoder)
                return
        decoder.kill()

    def close(self) -> None:
        with self._lock:
            while self._idle:
                self._idle.pop().kill()

    def forget(self) -> None:
        self._lock = threading.Lock()
        while self._idle:
            self._idle.pop().disown()


_pool = _Pool()
atexit.register(_pool.close)
os.register_at_fork(after_in_child=_pool.forget)


def take_decoder(compute: Compute, *, fresh: bool = False) -> Decoder:
    """A decoder process for a while; to be given back or killed.

    Raises:
        DeviceError: None can be started on this machine.
    """
    return _pool.take(compute, fresh=fresh)


def give_back(decoder: Decoder) -> None:
    """Keep a decoder process for whoever needs one next; it must not be in a stream."""
    _pool.give_back(decoder)


def ask_once(compute: Compute, path: Path, header: dict[str, Any]) -> Message:
    """The answer to one request about a file; repeated in a fresh process if a used one is lost.

    What becomes of a file must not depend on what was decoded before it.

    Raises:
        UnitError: The file cannot be used.
    """
    decoder = take_decoder(compute)
    while True:
        first_use = decoder.fresh
        try:
            answer = decoder.ask({"path": str(path), **header})
        except FaultError as fault:
            give_back(decoder)
            raise unit_error(path, fault) from None
        except DecoderLostError as error:
            _logger.info("%s: decoder %s", path, error)
            if first_use:
                raise lost_error(path, error, compute) from None
            decoder = take_decoder(compute, fresh=True)
        except BaseException:
            decoder.kill()
            raise
        else:
            give_back(decoder)
            return answer


def unit_error(path: Path, fault: FaultError) -> UnitError:
    """A fault with the file's name."""
    return UnitError(fault.reason, f"{path}: {fault}")


def lost_error(path: Path, lost: DecoderLostError, compute: Compute) -> UnitError:
    """What became of the decoder, as a reason of the file that it read."""
    remedy = "`ffmpeg -i IN OUT.mp4` may make a copy that can be read"
    match lost.fate:
        case "timeout":
            reason, what = (
                Reason.MEDIA_TIMEOUT,
                f"no frame in {compute.decode_timeout:g} s (compute.decode_timeout)",
            )
        case "memory":
            reason, what = (
                Reason.MEDIA_TOO_LARGE,
                f"decoding takes more than {compute.decode_memory:g} GiB (compute.decode_memory)",
            )
        case "killed":
            return UnitError(
                Reason.OUT_OF_MEMORY, f"{path}: the decoder was killed, probably for want of memory"
            )
        case _:
            reason, what = Reason.MEDIA_CRASHED, "the file makes the decoder crash"
    return UnitError(reason, f"{path}: {what}; {remedy}")
