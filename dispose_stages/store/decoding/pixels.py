"""Decoded frames to RGB, as decord converts them."""

from __future__ import annotations

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from jaxtyping import UInt8

_SCALING = "flags=bilinear:threads=1"
_HALVED_COLOUR = ":in_v_chr_pos=256"
"""Decord's: bilinear where a picture is scaled or its samples are not 8-bit ones, with its place of
colour samples. Measured to be equal to the bit for 8- and 10-bit pictures, interlaced or not, of
every matrix and range; of odd sizes with halved colour, 7 % of the values differ."""


class RgbConverter:
    """Converts frames to one size.

    Args:
        height: Of what comes out, pixels, as stored (not turned).
        width: Of what comes out, pixels, as stored.
    """

    def __init__(self, height: int, width: int) -> None:
        self._size = (height, width)
        self._graph: Graph | None = None
        self._source: tuple[object, ...] = ()

    def __call__(self, frame: VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
        """RGB of a frame; frames of another size are scaled, as decord does."""
        source = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range)
        if self._graph is None or source != self._source:
            self._graph, self._source = self._build(frame), source
        return filtered(self._graph, frame).to_ndarray()

    def _build(self, frame: VideoFrame) -> Graph:
        height, width = self._size
        halved = frame.format.chroma_height(2) == 1
        scaling = _SCALING + (_HALVED_COLOUR if halved else "")
        return rgb_graph(frame, f"{width}:{height}:{scaling}")


def rgb_graph(frame: VideoFrame, scaling: str, *further: str) -> Graph:
    """Filters for frames like this one: scaled, then RGB, then what is named."""
    graph = Graph()
    graph.link_nodes(
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base,
        ),
        graph.add("scale", scaling),
        graph.add("format", "pix_fmts=rgb24"),
        *map(graph.add, further),
        graph.add("buffersink"),
    )
    graph.configure()
    return graph


def filtered(graph: Graph, frame: VideoFrame) -> VideoFrame:
    """What comes of a frame."""
    graph.push(frame)
    out = graph.pull()
    if not isinstance(out, VideoFrame):
        raise TypeError(f"the filter gave {type(out).__name__}")
    return out
