"""The command of a lane in tests: no networks, and notes of who computed what on which GPU.

``LANE_FAULT`` names a unit and what happens to it: ``die`` (the process is gone), ``fail`` (the
unit's own fault), ``machine`` (its GPU is dead).
"""

import os
import sys
import time
from pathlib import Path

from dispose_stages.batch import lanes
from dispose_stages.errors import Reason, UnitError
from tests.toy_run import CountingStage


class NotedStage(CountingStage):
    """Writes a line per unit; waits a moment, so that every process gets some."""

    def compute(self, *, unit):
        fault = os.environ.get("LANE_FAULT", "").partition(" ")
        with Path(os.environ["LANE_NOTES"]).open("a") as stream:
            stream.write(f"{unit.id} {os.environ['CUDA_VISIBLE_DEVICES']} {os.getpid()}\n")
        if fault[0] == unit.id:
            if fault[2] == "die":
                os.kill(os.getpid(), 9)
            if fault[2] == "machine":
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            raise UnitError(Reason.NUMERIC, "as the test wants it")
        time.sleep(float(os.environ.get("LANE_SECONDS", "0.3")))
        return super().compute(unit=unit)


if __name__ == "__main__":
    stage, root, name, number, queue = sys.argv[1], *sys.argv[2:4], sys.argv[5], sys.argv[7]
    lanes.load_stage = NotedStage
    sys.exit(lanes.perform_lane(stage, Path(root), name, int(number), int(queue)))
