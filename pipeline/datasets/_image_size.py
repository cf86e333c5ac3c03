"""The size of a picture from the head of its file, where that says it; labels in fractions need it before any decoding."""

import struct
from pathlib import Path

from edgewright.runtime.errors import DataError
from edgewright.runtime.sources.images import read_image

_HEAD_BYTES = 1 << 16
_PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
# JPEG, ITU-T T.81, table B.1: markers of frames; C4, C8 and CC are no frames.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_APP1 = 0xE1


def image_size(path: Path) -> tuple[int, int]:
    """Width and height as `read_image` gives them; DataError or SourceError when the file cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as err:
        raise DataError(f"{path}: the image cannot be read ({err.strerror}); check the file") from err
    size = _png_size(head) if head.startswith(_PNG_START) else _jpeg_size(head)
    if size is not None:
        return size
    height, width = read_image(path).shape[:2]
    return width, height


def _png_size(head: bytes) -> tuple[int, int] | None:
    # A picture with EXIF data may be turned.
    if b"eXIf" in head:
        return None
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    """None for other files, for pictures that EXIF data may turn, and where the frame lies further on."""
    if not head.startswith(b"\xff\xd8"):
        return None
    position = 2
    while position + 9 <= len(head) and head[position] == 0xFF:
        marker = head[position + 1]
        if marker == _APP1:
            return None
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", head[position + 5 : position + 9])
            return (width, height) if height else None
        position += 2 + int(struct.unpack(">H", head[position + 2 : position + 4])[0])
    return None
