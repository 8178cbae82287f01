"""Copy a compact subset of the recordings to ``tests/parity/golden``, where every check runs them.

``python -m tests.parity.subset ../shared/golden`` after a change of `CASES`. Numbers are copied bit
for bit; archives are packed tighter and JSON loses its indentation. The whole stays under 6 MB: of
every kind of recording a small case is taken, and what only repeats others at size is left out
(``modules/controlnet*`` and the conditioning embedding run inside ``pipeline`` and ``e2e``).
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import zipfile
from pathlib import Path

logger = logging.getLogger(__name__)

DESTINATION = Path(__file__).parent / "golden"
LIMIT_BYTES = 6_000_000
CASES = (
    "align/a.npz",
    "align/b.npz",
    "cmp/flow_resize_128x192.npz",
    "cmp/fuser.npz",
    "cmp/network_small.npz",
    "dift/default.npz",
    "dift/tokenizer/merges.txt",
    "dift/tokenizer/vocab.json",
    "draw/one.npz",
    "draw/small.npz",
    "draw/square.npz",
    "dwpose/nms.npz",
    "dwpose/pipeline_one.npz",
    "dwpose/warp_matrix.npz",
    "e2e/portrait.npz",
    "image/pixel_roundtrip.npz",
    "image/resized_150x100_to_64.npz",
    "image/resized_90x160_to_64.npz",
    "image/target_size.npz",
    "manifests/DisPose_controlnet.json",
    "manifests/MimicMotion_unet_posenet.json",
    "manifests/cmp_ckpt_iter_42000.json",
    "manifests/controlnet_from_unet_init.json",
    "manifests/folder_layout.json",
    "manifests/onnx_io.json",
    "manifests/sd15_text_encoder.json",
    "manifests/sd15_unet.json",
    "manifests/sd15_vae.json",
    "manifests/summary.json",
    "manifests/svd_image_encoder.json",
    "manifests/svd_vae.json",
    "metrics/frechet_a.npz",
    "metrics/frechet_small.npz",
    "metrics/image_equal.npz",
    "metrics/image_resized.npz",
    "modules/point_adapter_small.npz",
    "modules/pose_net.npz",
    "modules/unet.npz",
    "pipeline/generator_only.npz",
    "pure/flows_b.npz",
    "pure/frame_sampling.npz",
    "pure/gauss_199_20.npz",
    "pure/gauss_5_1.2.npz",
    "pure/guidance.npz",
    "pure/ref_dift_square.npz",
    "pure/tile_indices.json",
    "pure/tile_weights.npz",
    "scheduler/ddim_alphas.npz",
    "scheduler/euler_svd.npz",
    "weight_formula_check.json",
)
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)


def _repack(source: Path, destination: Path) -> None:
    """The same members, packed by LZMA (which `numpy.load` reads) and without dates."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(destination, "w") as new:
        for name in old.namelist():
            member = zipfile.ZipInfo(name, _TIMESTAMP)
            new.writestr(member, old.read(name), compress_type=zipfile.ZIP_LZMA)


def copy_case(source: Path, destination: Path) -> int:
    """Copy one file; returns its new size in bytes."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".npz":
        _repack(source, destination)
    elif source.suffix == ".json":
        content = json.loads(source.read_text())
        destination.write_text(json.dumps(content, separators=(",", ":")) + "\n")
    else:
        destination.write_bytes(source.read_bytes())
    return destination.stat().st_size


def main(arguments: list[str] | None = None) -> int:
    """Copy all of `CASES`; exit status 1 if they are too large together."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("recordings", type=Path)
    parser.add_argument("destination", type=Path, nargs="?", default=DESTINATION)
    options = parser.parse_args(arguments)
    sizes = {
        name: copy_case(options.recordings / name, options.destination / name) for name in CASES
    }
    total = sum(sizes.values())
    logger.info("%d files, %d bytes of at most %d", len(sizes), total, LIMIT_BYTES)
    return 0 if total <= LIMIT_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
