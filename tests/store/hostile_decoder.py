"""A decoder process on which some files have the effect that their name says."""

from __future__ import annotations

import mmap
import os
import sys
import time
from itertools import count
from pathlib import Path

from dispose_stages.store.decoding import container, images, process, readers

EFFECTS = {
    "abort": os.abort,
    "segfault": lambda: os.kill(os.getpid(), 11),
    "killed": lambda: os.kill(os.getpid(), 9),
    "exit": lambda: os._exit(3),
    "hang": lambda: time.sleep(3600),
    "spin": lambda: all(count(1)),
    "devour": lambda: bytearray(1 << 42),
    "hoard": lambda: [mmap.mmap(-1, 1 << 24) for _ in count()],
}


def suffer(path: str, *, late: bool = False) -> None:
    """Do what the name of the file says, if this is the time."""
    name = Path(path).name.split(".")[0]
    if name.startswith("late_") == late and name.removeprefix("late_") in EFFECTS:
        EFFECTS[name.removeprefix("late_")]()


def main() -> None:
    """Serve, suffering when a file is opened or, late, when its frames are read."""
    decode, open_, read = images.decode_image, container.Video.__init__, readers.OpenVideo.read

    def decode_image(path, *rest):
        suffer(path)
        return decode(path, *rest)

    def open_video(self, path, *rest):
        suffer(path)
        open_(self, path, *rest)

    def read_frames(self, indices):
        for number, item in enumerate(read(self, indices)):
            if number == 2:
                suffer(self._av._path, late=True)
            yield item

    process.decode_image = decode_image
    container.Video.__init__ = open_video
    readers.OpenVideo.read = read_frames
    process.main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))


if __name__ == "__main__":
    main()
