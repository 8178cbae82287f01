"""A walk through a run from Python: ``python look_at_a_run.py results/demo [pictures/]``.

Needs no GPU and no torch. Run it as a script, or cell by cell where an editor knows ``# %%``.
"""

# %% Open a run: what came of its pairs?
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from dispose_stages import open_run

arguments = sys.argv[1:] or ["results/demo"]
run = open_run(arguments[0])
pictures = Path(arguments[1]) if len(arguments) > 1 else None

print(run)
print(run.pairs[["status", "reason", "frames", "duration"]])

# %% One pair: what drove it, and how well does the driver fit?
pair = run[next(name for name in run if run[name].status == "delivered")]
motion = pair.motion
print(f"{pair.row.pair_id}: {pair.row.reference_image} moves like {pair.row.driving_video}")
print(f"scale {motion.scale}, shift {motion.shift}, residual {motion.residual:.3f} of the height")

# %% Where are the hands (OpenPose body keypoints 4 and 7), in pixels of the video?
hands = motion.tracks[:, [4, 7]]
print("right hand, from the reference on:", hands[:, 0].round(1).tolist())

# %% How fast does the picture move?
speed = [float(np.hypot(*pair.field(frame)).mean()) for frame in range(len(motion.cmp_flow))]
print("mean displacement from the reference, pixels:", np.round(speed, 2).tolist())

# %% What came out?
frames = np.stack(list(pair.frames()))
print(
    f"{len(frames)} frames of {frames.shape[2]} x {frames.shape[1]}, latents {pair.latents.shape}"
)
for metric, value in sorted(pair.scores.items()):
    print(f"{metric}: {value:.4f}")

# %% Pictures beside one another: reference, pose, field, result.
middle = len(frames) // 2
row = [pair.draw(what, middle) for what in ("reference", "pose", "field", "result")]
if pictures is not None:
    pictures.mkdir(parents=True, exist_ok=True)
    height = min(picture.shape[0] for picture in row)
    beside = np.concatenate([picture[:height] for picture in row], axis=1)
    Image.fromarray(beside).save(pictures / f"{pair.row.pair_id}.png")
