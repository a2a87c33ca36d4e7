"""PNG and JPEG into the tensor that a model takes: its size, its channels, black to white onto its range of values."""

from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from service.errors import AxonError, MalformedBody, SignatureMismatch, shown
from service.protocols.budget import Budget
from service.repository.datatypes import to_numpy
from service.repository.signature import TensorSpec

Array = np.ndarray[Any, Any]

MEDIA_TYPES: Final = ("image/png", "image/jpeg")
_FORMATS: Final = ("PNG", "JPEG")
_MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}
_FULL: Final = 255.0  # a byte's white
_FULL_16: Final = 65535.0
_BYTES_A_VALUE: Final = 4  # while a picture is fitted, it is one of floats


@dataclass(frozen=True, slots=True)
class Frame:
    """The picture that an input takes: its size, -1 for any, its channels, and on which axis these stand, if on one."""

    height: int
    width: int
    channels: int
    channel_axis: int | None


def frame_of(spec: TensorSpec) -> Frame | None:
    """Return the picture that a row of an input is: [h, w], [h, w, c] or [c, h, w] of 1, 3 or 4 channels; None if it is none."""
    match spec.shape[1:]:
        case (height, width) if spec.shape[0] in (-1, 1) and not spec.features:
            return Frame(height, width, 1, None)
        case (height, width, channels) if channels in _MODES:
            return Frame(height, width, channels, 2)
        case (channels, height, width) if channels in _MODES:
            return Frame(height, width, channels, 0)
        case _:
            return None


def to_row(content: bytes | bytearray, spec: TensorSpec, *, budget: Budget, where: str) -> Array:
    """Decode a picture and fit it to an input, without the batch axis.

    It is turned as its EXIF data says, converted to the input's channels, and resized by the mean over the area of each pixel.
    Black and white become the ends of the input's value range, which is 0 to 255 if the signature has none. Raises MalformedBody
    for what is no picture or only the beginning of one, DecodedTooLarge before too many pixels are decoded, and SignatureMismatch
    if the input takes no pictures.
    """
    frame = frame_of(spec)
    if frame is None or spec.datatype in ("BOOL", "BYTES"):
        raise SignatureMismatch(
            f"Input '{spec.name}' takes {spec.datatype} of shape {list(spec.shape)}, which is no picture. Send its values."
        )
    pixels = _pixels(content, frame, budget, where)
    low, high = spec.value_range or (0.0, _FULL)
    values = np.float32(low) + pixels * np.float32(high - low)
    dtype: np.dtype[Any] = to_numpy(spec.datatype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return _laid_out(values.astype(dtype), frame)


def _pixels(content: bytes | bytearray, frame: Frame, budget: Budget, where: str) -> Array:
    """Return floats from 0, black, to 1, white, of shape [h, w, c]."""
    try:
        with Image.open(BytesIO(content), formats=_FORMATS) as image:
            budget.take(image.width * image.height * len(image.getbands()) * (2 if image.mode.startswith("I") else 1))
            upright = ImageOps.exif_transpose(image)
            height = frame.height if frame.height > 0 else upright.height
            width = frame.width if frame.width > 0 else upright.width
            budget.take(height * width * frame.channels * _BYTES_A_VALUE)
            converted, full = _converted(upright, frame)
            pixels = np.asarray(converted.resize((width, height), Image.Resampling.BOX), dtype=np.float32)
    except AxonError:
        raise
    except UnidentifiedImageError:
        raise MalformedBody(f"{where} is no PNG and no JPEG.") from None
    except Exception as error:  # Pillow's decoders raise whatever a broken file brings them to
        raise MalformedBody(f"{where} is no readable PNG or JPEG: {shown(str(error) or type(error).__name__)}.") from error
    scaled: Array = np.clip(pixels / np.float32(full), 0, 1)
    return scaled.reshape(height, width, frame.channels)


def _converted(image: Image.Image, frame: Frame) -> tuple[Image.Image, float]:
    """Return the picture in the channels of the frame, and its white. Pillow would cut 16 bits off at the lower 8."""
    if not image.mode.startswith("I"):
        return image.convert(_MODES[frame.channels]), _FULL
    if frame.channels == 1:
        return Image.fromarray(np.asarray(image).astype(np.float32)), _FULL_16
    shallow = np.rint(np.asarray(image) * (_FULL / _FULL_16)).astype(np.uint8)
    return Image.fromarray(shallow).convert(_MODES[frame.channels]), _FULL


def _laid_out(values: Array, frame: Frame) -> Array:
    if frame.channel_axis is None:
        return np.squeeze(values, axis=2)
    return np.ascontiguousarray(np.moveaxis(values, 2, frame.channel_axis))
