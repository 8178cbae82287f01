from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from dispose_stages.config import Compute
from dispose_stages.errors import DeviceError, Reason, UnitError
from dispose_stages.store.decoding import decoder as decoder_module
from dispose_stages.store.decoding import pool as pool_module
from dispose_stages.store.media import probe_media, read_image
from dispose_stages.store.video import VideoReader
from tests.store.clips import number_of, write_clip

IMPATIENT = Compute(decode_timeout=2, decode_memory=1)
FAULTS = {
    "abort": Reason.MEDIA_CRASHED,
    "segfault": Reason.MEDIA_CRASHED,
    "exit": Reason.MEDIA_CRASHED,
    "hang": Reason.MEDIA_TIMEOUT,
    "spin": Reason.MEDIA_TIMEOUT,
    "devour": Reason.MEDIA_TOO_LARGE,
    "hoard": Reason.MEDIA_TOO_LARGE,
    "killed": Reason.OUT_OF_MEMORY,
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve numbered frames."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", 12)


@pytest.fixture
def pool():
    """No decoder process yet; none afterwards."""
    pool = pool_module._pool
    pool.close()
    others = set(psutil.Process().children())  # of tests before this one
    yield pool
    pool.close()
    assert set(psutil.Process().children()) <= others


@pytest.fixture
def hostile(pool, monkeypatch: pytest.MonkeyPatch):
    """Decoder processes that suffer from some files."""
    monkeypatch.setattr(decoder_module, "_PROGRAM", "tests.store.hostile_decoder")
    return pool


def numbers(path: Path, compute: Compute = IMPATIENT) -> list[int]:
    """Numbers that a video's frames show."""
    with VideoReader(path, compute=compute) as reader:
        return [number_of(frame) for _, frame in reader.frames(range(reader.frame_count))]


@pytest.mark.parametrize(
    "name", [*FAULTS, "late_abort", "late_hang", "late_devour", "late_hoard", "late_killed"]
)
def test_a_fault_of_the_decoder_is_a_reason_of_its_file(
    hostile, clip: Path, tmp_path: Path, name: str
) -> None:
    """Whatever happens to the decoder, at once or among the frames, the next file is read."""
    bad = shutil.copy(clip, tmp_path / f"{name}.mp4")
    with pytest.raises(UnitError) as caught:
        numbers(bad)
    assert caught.value.reason is FAULTS[name.removeprefix("late_")]
    assert str(bad) in str(caught.value)
    assert numbers(clip) == list(range(12))


@pytest.mark.parametrize("fault", ["abort", "hang", "hoard"])
def test_images_are_decoded_there_too(hostile, tmp_path: Path, fault: str) -> None:
    """And probed."""
    bad, good = tmp_path / f"{fault}.png", tmp_path / "good.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(good)
    shutil.copy(good, bad)
    for read in (read_image, lambda path, compute: probe_media(path, compute=compute)):
        with pytest.raises(UnitError) as caught:
            read(bad, IMPATIENT)
        assert caught.value.reason is FAULTS[fault]
        assert read(good, IMPATIENT) is not None


def test_messages_are_the_same_in_every_run(hostile, clip: Path, tmp_path: Path) -> None:
    """Neither times nor addresses nor numbers of processes reach them."""
    for fault in ("abort", "hoard"):
        bad = shutil.copy(clip, tmp_path / f"{fault}.mp4")
        messages = set()
        for _ in range(2):
            with pytest.raises(UnitError) as caught:
                numbers(bad)
            messages.add(str(caught.value))
        assert len(messages) == 1
        assert not re.search(r"0x|\d\d:\d\d", messages.pop().replace(str(bad), ""))


def test_what_decord_fails_on_is_read_by_the_other(
    hostile, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the frame on at which decord is lost."""
    with VideoReader(clip, compute=IMPATIENT) as reader:
        assert reader.facts.reader == "decord"
        frames = reader.frames(range(12))
        shown = [number_of(next(frames)[1]) for _ in range(3)]
        reader._decoder._process.kill()
        shown += [number_of(frame) for _, frame in frames]
        assert shown == list(range(12))
        assert reader.facts.reader == "av"


def test_one_process_serves_many_files(pool, clip: Path) -> None:
    """It stays warm; two videos at once take two."""
    numbers(clip)
    (first,) = pool._idle
    for _ in range(3):
        numbers(clip)
        read_facts = probe_media(clip)
        assert read_facts.frames == 12
    assert [decoder._process.pid for decoder in pool._idle] == [first._process.pid]
    with VideoReader(clip) as one, VideoReader(clip) as other:
        for (_, left), (_, right) in zip(
            one.frames(range(12)), other.frames(range(12)), strict=True
        ):
            np.testing.assert_array_equal(left, right)
    assert len(pool._idle) == 1


def test_a_reading_that_is_given_up(pool, clip: Path) -> None:
    """The next one begins where it likes, in the same process."""
    with VideoReader(clip) as reader:
        process = reader._decoder._process.pid
        for start in (0, 5, 2):
            frames = reader.frames(range(start, 12))
            assert number_of(next(frames)[1]) == start
            del frames
        stale = reader.frames(range(12))
        next(stale)
        assert [number_of(frame) for _, frame in reader.frames([7])] == [7]
        with pytest.raises(RuntimeError, match="another reading"):
            next(stale)
        assert reader._decoder._process.pid == process


def test_a_process_that_does_not_start(pool, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is the machine's fault, not the file's."""
    monkeypatch.setattr(decoder_module, "_PROGRAM", "tests.store.no_such_module")
    with pytest.raises(DeviceError, match="no_such_module"):
        numbers(clip)


JOB = """
import os, signal, sys, time
from pathlib import Path
from dispose_stages.config import Compute
from dispose_stages.store.decoding import decoder
from dispose_stages.store.video import VideoReader
decoder._PROGRAM = "tests.store.hostile_decoder"
signal.signal(signal.SIGTERM, lambda *_: None)
signal.signal(signal.SIGINT, lambda *_: None)
with VideoReader(Path(sys.argv[1]), compute=Compute(decode_timeout=600)) as reader:
    frames = reader.frames(range(reader.frame_count))
    print(reader._decoder._process.pid, flush=True)
    if sys.argv[2] == "wait":
        sys.stdin.read(1)
    print(len(list(frames)), flush=True)
"""


def start_job(path: Path, what: str) -> tuple[subprocess.Popen[bytes], psutil.Process]:
    """A job in a process group of its own, and its decoder."""
    job = subprocess.Popen(
        [sys.executable, "-c", JOB, str(path), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert job.stdout is not None
    return job, psutil.Process(int(job.stdout.readline()))


@pytest.mark.parametrize("name", ["clip.mp4", "late_hang.mp4", "late_spin.mp4"])
def test_the_decoder_ends_with_its_job(clip: Path, tmp_path: Path, name: str) -> None:
    """Also when the job is killed and the decoder hangs."""
    path = Path(shutil.copy(clip, tmp_path / name))
    job, decoder = start_job(path, "wait" if name == "clip.mp4" else "read")
    time.sleep(0.3)
    job.kill()
    job.communicate()
    assert psutil.wait_procs([decoder], timeout=10)[1] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_to_the_whole_group_leave_the_decoder_to_the_job(clip: Path, number: int) -> None:
    """As a scheduler or a terminal sends them; the job reads on if it wants to."""
    job, decoder = start_job(clip, "wait")
    if number != signal.SIGUSR1:
        os.killpg(job.pid, number)
    else:
        decoder.send_signal(number)
    time.sleep(0.2)
    assert decoder.is_running()
    out, _ = job.communicate(b"x")
    assert (out.split(), job.returncode) == ([b"12"], 0)


def test_forked_processes_have_decoders_of_their_own(pool, clip: Path) -> None:
    """As workers of a data loader do."""
    numbers(clip)
    (warm,) = pool._idle
    child = os.fork()
    if child == 0:  # pragma: no cover - runs in the child
        try:
            good = not pool._idle and numbers(clip) == list(range(12))
            pool.close()
        except BaseException:  # noqa: BLE001
            good = False
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert warm.alive
    assert numbers(clip) == list(range(12))
