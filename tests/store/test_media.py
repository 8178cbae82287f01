from __future__ import annotations

import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dispose_stages.errors import Reason, UnitError
from dispose_stages.store.decoding.limits import SizeLimits
from dispose_stages.store.media import probe_media, read_image
from tests.store.clips import write_clip

DEFAULT_SIZES = SizeLimits()


@pytest.fixture
def picture() -> np.ndarray:
    """Smooth RGB, all corners different."""
    y, x = np.mgrid[0:40, 0:24]
    return np.stack([x * 10, y * 6, 255 - x * 4 - y * 3], axis=-1).astype(np.uint8)


def failure(path: Path, sizes: SizeLimits = DEFAULT_SIZES) -> Reason:
    """The reason for which an image cannot be read."""
    with pytest.raises(UnitError) as caught:
        read_image(path, sizes=sizes)
    return caught.value.reason


def test_png_is_exact(tmp_path: Path, picture: np.ndarray) -> None:
    """RGB in, the same RGB out, in memory of its own."""
    Image.fromarray(picture).save(tmp_path / "x.png")
    actual = read_image(tmp_path / "x.png")
    np.testing.assert_array_equal(actual, picture)
    assert actual.dtype == np.uint8
    assert actual.flags.c_contiguous
    assert actual.flags.writeable


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path: Path, picture: np.ndarray, orientation: int) -> None:
    """Photos come upright, whichever way the camera was held."""
    stored = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture),
        7: np.rot90(picture[:, ::-1]),
        8: np.rot90(picture, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "x.png", exif=exif)
    if orientation == 7:
        stored = np.rot90(picture[:, ::-1], -1)
        Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), picture)


def test_broken_orientation_is_ignored(tmp_path: Path, picture: np.ndarray) -> None:
    """Junk in the EXIF data does not make the pixels unusable."""
    Image.fromarray(picture).save(tmp_path / "x.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert read_image(tmp_path / "x.jpg").shape == picture.shape


def test_modes_become_rgb(tmp_path: Path, picture: np.ndarray) -> None:
    """Grey, grey with alpha, RGBA, palette and bilevel images have three channels."""
    rgb = Image.fromarray(picture)
    alpha = Image.fromarray(np.arange(40 * 24).reshape(40, 24).astype(np.uint8))
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    rgba.save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), picture)
    grey = np.asarray(rgb.convert("L"))
    rgb.convert("L").save(tmp_path / "l.png")
    Image.merge("LA", (rgb.convert("L"), alpha)).save(tmp_path / "la.png")
    for name in ("l.png", "la.png"):
        actual = read_image(tmp_path / name)
        np.testing.assert_array_equal(actual, np.repeat(grey[..., None], 3, axis=-1))
    palette = rgb.quantize(64)
    palette.save(tmp_path / "p.png", transparency=bytes(range(64)))
    np.testing.assert_array_equal(
        read_image(tmp_path / "p.png"), np.asarray(palette.convert("RGB"))
    )
    rgb.convert("1").save(tmp_path / "1.png")
    assert set(np.unique(read_image(tmp_path / "1.png"))) == {0, 255}


def test_cmyk_jpeg(tmp_path: Path, picture: np.ndarray) -> None:
    """Print colours come out close to what they were."""
    Image.fromarray(picture).convert("CMYK").save(tmp_path / "x.jpg", quality=98, subsampling=0)
    difference = read_image(tmp_path / "x.jpg").astype(int) - picture
    assert np.abs(difference).mean() < 4


def test_sixteen_bits_keep_the_high_byte(tmp_path: Path) -> None:
    """16-bit greys are scaled, not clipped to white."""
    values = (np.arange(40 * 24).reshape(40, 24) * 68).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    actual = read_image(tmp_path / "x.png")
    np.testing.assert_array_equal(actual[..., 1], values >> 8)
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "x.tiff")
    assert failure(tmp_path / "x.tiff") is Reason.MEDIA_UNSUPPORTED


def test_animations_give_their_first_frame(tmp_path: Path, picture: np.ndarray) -> None:
    """A moving WebP as reference image is its beginning."""
    frames = [Image.fromarray(picture), Image.fromarray(255 - picture)]
    frames[0].save(tmp_path / "x.webp", save_all=True, append_images=frames[1:], lossless=True)
    np.testing.assert_array_equal(read_image(tmp_path / "x.webp"), picture)


def _png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def test_hostile_files_have_typed_reasons(tmp_path: Path, picture: np.ndarray) -> None:
    """Absent, empty, foreign, truncated and enormous images: each its reason."""
    path = tmp_path / "x.png"
    assert failure(path) is Reason.MEDIA_MISSING
    assert failure(tmp_path) is Reason.MEDIA_UNREADABLE
    path.write_bytes(b"")
    assert failure(path) is Reason.MEDIA_EMPTY
    path.write_bytes(b"not a picture")
    assert failure(path) is Reason.MEDIA_UNREADABLE
    for size in ((60_000, 60_000), (10_000, 10_000), (20_000, 1)):
        path.write_bytes(_png_claiming(*size))
        assert failure(path) is Reason.MEDIA_TOO_LARGE
    path.write_bytes(_png_claiming(3_000, 3_000))
    assert failure(path) is Reason.MEDIA_UNREADABLE
    Image.fromarray(picture).save(path)
    assert failure(path, SizeLimits(dimension=39)) is Reason.MEDIA_TOO_LARGE
    assert failure(path, SizeLimits(pixels=959)) is Reason.MEDIA_TOO_LARGE
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert failure(path) is Reason.MEDIA_UNREADABLE


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_damage_never_escapes(tmp_path: Path, picture: np.ndarray, kind: str) -> None:
    """Cut or flipped bytes give pixels or a typed error, never another exception."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind)
    content = np.frombuffer(stream.getvalue(), np.uint8)
    rng = np.random.default_rng(3)
    path = tmp_path / "x"
    for attempt in range(40):
        damaged = content.copy()
        if attempt % 2:
            damaged = damaged[: rng.integers(1, len(damaged))]
        else:
            damaged[rng.integers(0, len(damaged), size=4)] = rng.integers(0, 256, size=4)
        path.write_bytes(damaged.tobytes())
        try:
            assert read_image(path).ndim == 3
        except UnitError as error:
            assert error.reason.startswith("media_")  # noqa: PT017 - either outcome is right


def test_probe(tmp_path: Path, picture: np.ndarray) -> None:
    """Kind, upright size, frames, rate, digest and bytes; the kind is found if not given."""
    image = tmp_path / "x.dat"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(image, "PNG", exif=exif)
    probe = probe_media(image)
    assert probe == probe_media(image, kind="image")
    assert (probe.kind, probe.height, probe.width) == ("image", 24, 40)
    assert (probe.frames, probe.fps, probe.size_bytes) == (1, 0.0, image.stat().st_size)
    assert probe.digest == hashlib.sha256(image.read_bytes()).hexdigest()
    clip = write_clip(tmp_path / "y.dat.mp4", 9, fps=24.0)
    probe = probe_media(clip)
    assert (probe.kind, probe.frames, probe.fps) == ("video", 9, 24.0)
    assert probe.digest == hashlib.sha256(clip.read_bytes()).hexdigest()
    for path, kind in ((image, "video"), (clip, "image")):
        with pytest.raises(UnitError) as caught:
            probe_media(path, kind=kind)  # type: ignore[arg-type]
        assert caught.value.reason in {Reason.MEDIA_UNREADABLE, Reason.MEDIA_UNSUPPORTED}


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_grey_tiffs_come_upright(tmp_path: Path, kind: type, orientation: int) -> None:
    """As the same picture does from a PNG, also without compression."""
    y, x = np.mgrid[0:40, 0:24]
    picture = Image.fromarray((x * 5 + y * 3).astype(kind) * kind(1 if kind is np.uint8 else 256))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("x.tif", "x.png"):
        picture.save(tmp_path / name, exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), read_image(tmp_path / "x.png"))
