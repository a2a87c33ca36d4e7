"""Pictures fitted to an input, and files that are none or not only that."""

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.errors import AxonError, DecodedTooLarge, MalformedBody, SignatureMismatch
from service.protocols.budget import Budget
from service.protocols.pictures import to_row
from service.repository.signature import TensorSpec

GREY = TensorSpec("image", "UINT8", (-1, 2, 2, 1))
RAMP = np.array([[0, 51], [102, 255]], np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def fitted(content: bytes, spec: TensorSpec = GREY, *, limit: int = 1 << 20) -> np.ndarray[Any, Any]:
    return to_row(content, spec, budget=Budget(limit), where="The body")


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """Put a file together of any chunks."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def header(width: int, height: int, depth: int = 8, colour: int = 0) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)


@pytest.mark.parametrize(
    ("shape", "datatype", "value_range", "expected"),
    [
        pytest.param((-1, 2, 2, 1), "UINT8", None, RAMP[:, :, None], id="bytes"),
        pytest.param((-1, 2, 2), "UINT8", (0.0, 255.0), RAMP, id="no channel axis"),
        pytest.param((-1, 1, 2, 2), "UINT8", None, RAMP[None], id="channels first"),
        pytest.param((1, 2, 2, 1), "UINT8", None, RAMP[:, :, None], id="batch of one"),
        pytest.param((-1, 2, 2), "FP32", (0.0, 1.0), RAMP.astype(np.float32) / np.float32(255), id="floats from 0 to 1"),
        pytest.param((-1, 2, 2), "FP16", (-1.0, 1.0), np.array([[-1, -0.6], [-0.2, 1]], np.float16), id="half floats around 0"),
        pytest.param((-1, 2, 2), "INT8", (-128.0, 127.0), (RAMP.astype(int) - 128).astype(np.int8), id="signed bytes"),
        pytest.param((-1, 2, 2), "FP32", (16.0, 0.0), np.array([[16, 12.8], [9.6, 0]], np.float32), id="white is the small end"),
        pytest.param((-1, 2, 2, 3), "UINT8", None, np.repeat(RAMP[:, :, None], 3, 2), id="grey in colour"),
        pytest.param((-1, 3, 2, 2), "UINT8", None, np.repeat(RAMP[None], 3, 0), id="grey in colour, channels first"),
        pytest.param((-1, -1, -1, 1), "UINT8", None, RAMP[:, :, None], id="any size"),
        pytest.param((-1, 1, 1), "UINT8", None, np.array([[102]], np.uint8), id="smaller: the mean"),
    ],
)
def test_picture_is_fitted(shape: tuple[int, ...], datatype: Any, value_range: Any, expected: np.ndarray[Any, Any]) -> None:
    spec = TensorSpec("image", datatype, shape, value_range=value_range)

    np.testing.assert_allclose(fitted(encoded(Image.fromarray(RAMP)), spec), expected, rtol=1e-2, strict=True)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(Image.fromarray(RAMP).convert("RGB"), id="RGB"),
        pytest.param(Image.fromarray(RAMP).convert("RGBA"), id="RGBA"),
        pytest.param(Image.fromarray(RAMP).convert("LA"), id="grey with alpha"),
        pytest.param(Image.fromarray(RAMP).convert("P"), id="palette"),
        pytest.param(Image.fromarray(RAMP.astype(np.uint16) * 257), id="16 bits"),
    ],
)
def test_picture_of_any_mode_is_the_same_in_grey_and_in_colour(image: Image.Image) -> None:
    colour = TensorSpec("image", "UINT8", (-1, 2, 2, 3))

    np.testing.assert_array_equal(fitted(encoded(image))[:, :, 0], RAMP)
    np.testing.assert_array_equal(fitted(encoded(image), colour), np.repeat(RAMP[:, :, None], 3, 2))


def test_16_bits_are_kept_where_the_input_has_room_for_them() -> None:
    deep = Image.fromarray(np.array([[0, 257], [258, 65535]], np.uint16))

    values = fitted(encoded(deep), TensorSpec("image", "FP32", (-1, 2, 2), value_range=(0.0, 65535.0)))

    np.testing.assert_allclose(values, [[0, 257], [258, 65535]], rtol=1e-6)


def test_black_and_white_and_print_colours_are_read() -> None:
    bits = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1")
    jpeg = encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG")

    assert fitted(encoded(bits)).reshape(-1).tolist() == [0, 255, 255, 0]
    assert fitted(jpeg).min() == 255


def test_picture_is_turned_upright() -> None:
    """Cameras store how they were held beside the pixels: 6 is turned by a quarter."""
    lying = Image.fromarray(np.repeat(np.repeat(RAMP, 8, 0), 8, 1))
    exif = Image.Exif()
    exif[0x0112] = 6

    turned = fitted(encoded(lying, "JPEG", exif=exif, quality=100))[:, :, 0]

    np.testing.assert_allclose(turned, np.rot90(RAMP, -1), atol=2)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(TensorSpec("x", "FP32", (-1, 4)), id="rows"),
        pytest.param(TensorSpec("x", "FP32", ()), id="scalar"),
        pytest.param(TensorSpec("x", "FP32", (-1, 5, 5, 5)), id="no channels"),
        pytest.param(TensorSpec("x", "FP32", (28, 28, 1)), id="no batch axis"),
        pytest.param(TensorSpec("x", "FP32", (-1, 2, 3), features=("a", "b", "c")), id="features"),
        pytest.param(TensorSpec("x", "BYTES", (-1, 2, 2)), id="text"),
        pytest.param(TensorSpec("x", "BOOL", (-1, 2, 2)), id="booleans"),
    ],
)
def test_input_that_takes_no_picture_says_so(spec: TensorSpec) -> None:
    with pytest.raises(SignatureMismatch, match="which is no picture"):
        fitted(encoded(Image.fromarray(RAMP)), spec)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"rubbish", id="rubbish"),
        pytest.param(encoded(Image.new("L", (64, 64), 7))[:-30], id="PNG cut off"),
        pytest.param(encoded(Image.new("L", (64, 64), 7), "JPEG")[:-100], id="JPEG cut off"),
        pytest.param(encoded(Image.fromarray(RAMP), "GIF"), id="GIF"),
        pytest.param(encoded(Image.fromarray(RAMP), "TIFF"), id="TIFF"),
        pytest.param(png(header(2, 2)), id="no pixels"),
        pytest.param(png(header(2, 2), (b"IDAT", b"rubbish"), (b"IEND", b"")), id="pixels that are rubbish"),
        pytest.param(png(header(2, 2, depth=77), (b"IEND", b"")), id="depth that is not"),
        pytest.param(png(header(0, 0), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")), id="no size"),
        pytest.param(
            png(header(1, 1), (b"zTXt", b"a\x00\x00" + zlib.compress(b"a" * 50_000_000)), (b"IDAT", zlib.compress(b"\x00\x00"))),
            id="text bomb",
        ),
    ],
)
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedBody, match="The body is no"):
        fitted(content)


@pytest.mark.parametrize(
    "size", [pytest.param((40_000, 40_000), id="beyond Pillow's own bound"), pytest.param((2_000, 2_000), id="beyond the limit")]
)
def test_bomb_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    with pytest.raises((DecodedTooLarge, MalformedBody)):
        fitted(png(header(*size), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")))


def test_picture_may_be_as_large_as_the_limit() -> None:
    content = encoded(Image.new("L", (100, 100)))

    assert fitted(content, limit=10_016).shape == (2, 2, 1)
    with pytest.raises(DecodedTooLarge, match="more than 10015 bytes"):
        fitted(content, limit=10_015)


@given(st.data())
def test_damaged_file_is_a_picture_or_a_mistake(data: st.DataObject) -> None:
    whole = data.draw(
        st.sampled_from(
            [encoded(Image.fromarray(RAMP)), encoded(Image.fromarray(RAMP).convert("P")), encoded(Image.fromarray(RAMP), "JPEG")]
        )
    )
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    try:
        row = fitted(bytes(content))
    except AxonError as error:
        assert str(error)  # noqa: PT017 -- either outcome is fine, any other exception is not
    else:
        assert row.shape == (2, 2, 1)
