"""Class masks in picture files: one number a pixel, grey or by the index of a palette."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.errors import DataError

ClassMask = npt.NDArray[np.integer[Any]]
# Lossless only: JPEG would invent classes along every edge.
SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff"})
_PNG_START = b"\x89PNG\r\n\x1a\n"


def read_class_mask(path: Path) -> ClassMask:
    """The numbers (H, W) of a mask of 8 or 16 bits; DataError when it is unreadable or a colour picture."""
    try:
        data = path.read_bytes()
    except OSError as err:
        raise DataError(f"{path}: the mask cannot be read ({err.strerror or err}); check the file") from err
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if pixels is None or (data.startswith(_PNG_START) and b"IEND" not in data[-12:]):
        raise DataError(f"{path}: the mask is damaged, cut off or no picture; copy or export it again")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{path}: the mask holds {pixels.dtype}, wanted 8 or 16 bits; save it as a grey PNG")
    return np.asarray(pixels if pixels.ndim == 2 else _from_colors(pixels[..., :3], _palette(data), path))


def _from_colors(colors: npt.NDArray[Any], palette: npt.NDArray[np.uint8] | None, path: Path) -> ClassMask:
    """The palette index of every pixel, which OpenCV has replaced by the colour; grey stored as colour is grey."""
    if palette is not None and colors.dtype == np.uint8:
        # The first of equal colours: unused entries at the end of a palette are often black, like class 0.
        known, first = np.unique(_packed(palette), return_index=True)
        return np.asarray(first[np.searchsorted(known, _packed(colors))].astype(np.uint8))
    if (colors == colors[..., :1]).all():
        return np.asarray(colors[..., 0])
    raise DataError(
        f"{path}: the mask is a colour picture, so its numbers are unknown; save class ids as grey, or as a PNG with a palette"
    )


def _packed(colors_bgr: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    b, g, r = (colors_bgr[..., channel].astype(np.int32) for channel in range(3))
    return b | g << 8 | r << 16


def _palette(data: bytes) -> npt.NDArray[np.uint8] | None:
    """The palette (N, 3) BGR of a PNG file, None where it has none (PNG specification, section 11.2.2, PLTE)."""
    position = len(_PNG_START) if data.startswith(_PNG_START) else len(data)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kind, content = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        if kind == b"PLTE":
            return np.frombuffer(content[: length // 3 * 3], np.uint8).reshape(-1, 3)[:, ::-1]
        if kind == b"IDAT":
            return None
        position += 12 + length
    return None
