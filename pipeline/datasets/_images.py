"""Image files of data sets: found, read whole, and refused when damaged."""

import hashlib
from pathlib import Path

import cv2
import numpy as np

from edgewright.runtime.errors import DataError
from edgewright.runtime.results import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})


def read_image(path: Path) -> Image:
    """The image as BGR uint8 (H, W, 3), turned upright by its EXIF tag; DataError when it is damaged or cut short."""
    content = _read_bytes(path)
    if _is_cut_short(content):
        # OpenCV would fill the missing part with grey and say nothing.
        raise DataError(f"{path}: the image file is cut short after {len(content)} bytes; copy it again")
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if image is None:
        raise DataError(
            f"{path}: not a readable image ({len(content)} bytes); replace the file or take it out of the data set"
        )
    return np.asarray(image, np.uint8)


def file_digest(path: Path) -> str:
    """The sha256 of the file's bytes, in hex."""
    return hashlib.sha256(_read_bytes(path)).hexdigest()


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise DataError(
            f"{path}: the image cannot be read ({err.strerror or err}); check the file and its permissions"
        ) from err


def _is_cut_short(content: bytes) -> bool:
    if content.startswith(b"\xff\xd8\xff"):
        scan = _jpeg_scan_start(content)
        return scan is not None and content.find(b"\xff\xd9", scan) < 0
    if content.startswith(b"\x89PNG"):
        return b"IEND" not in content
    return False


def _jpeg_scan_start(content: bytes) -> int | None:
    # ITU-T T.81 B.1.1: segments are FF, marker, two length bytes, data; embedded thumbnails lie inside segments, so
    # only what follows the start of scan (FFDA) may be searched for the end marker (FFD9).
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        if content[position + 1] == 0xDA:
            return position
        if content[position + 1] == 0xFF:
            position += 1
            continue
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return None
