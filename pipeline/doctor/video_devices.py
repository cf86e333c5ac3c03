"""Cameras as the kernel's video interface (V4L2) lists them, without starting one."""

import array
import fcntl
import glob
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

# linux/videodev2.h: requests with their sizes, struct layouts and capability bits, the same on x86-64 and aarch64.
_QUERY_CAPABILITIES, _CAPABILITIES = 0x80685600, struct.Struct("=16s32s32sIII12x")
_LIST_FORMATS, _FORMAT = 0xC0405602, struct.Struct("=III32sI16x")
_LIST_SIZES, _SIZE = 0xC02C564A, struct.Struct("=III6I8x")
_CAPTURES, _CAPTURES_PLANES, _HAS_OWN = 0x1, 0x1000, 0x80000000
_TYPE_CAPTURE, _TYPE_CAPTURE_PLANES = 1, 9
_DISCRETE = 1
_MOST = 256

Control = Callable[[int, int, bytearray], None]


@dataclass(frozen=True)
class VideoDevice:
    """A device file that gives pictures; `formats` are four-letter codes with the largest size of each (0x0: not told).

    `error` is the kernel's word when it cannot be opened.
    """

    path: str
    name: str = ""
    driver: str = ""
    formats: dict[str, str] = field(default_factory=dict)
    error: str | None = None


def video_devices(pattern: str = "/dev/video*", control: Control | None = None) -> tuple[VideoDevice, ...]:
    """All that give pictures or cannot be opened; files of one camera for other things (metadata, encoders) are left out."""
    found = (_device(path, control or _ioctl) for path in sorted(glob.glob(pattern), key=_number))
    return tuple(device for device in found if device is not None)


def _number(path: str) -> tuple[int, str]:
    digits = path.rstrip("0123456789")
    return int(path[len(digits) :] or 0), path


def _device(path: str, control: Control) -> VideoDevice | None:
    try:
        handle = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError as err:
        return VideoDevice(path, error=err.strerror or str(err))
    try:
        return _capture(path, handle, control)
    except OSError as err:
        return VideoDevice(path, error=err.strerror or str(err))
    finally:
        os.close(handle)


def _capture(path: str, handle: int, control: Control) -> VideoDevice | None:
    data = bytearray(_CAPABILITIES.size)
    control(handle, _QUERY_CAPABILITIES, data)
    driver, card, _, _, capabilities, own = _CAPABILITIES.unpack(data)
    able = own if capabilities & _HAS_OWN else capabilities
    if not able & (_CAPTURES | _CAPTURES_PLANES):
        return None
    kind = _TYPE_CAPTURE if able & _CAPTURES else _TYPE_CAPTURE_PLANES
    formats = {_letters(code): _largest(handle, code, control) for code in _codes(handle, kind, control)}
    return VideoDevice(path, _text(card), _text(driver), formats)


def _codes(handle: int, kind: int, control: Control) -> Iterator[int]:
    with suppress(OSError):  # EINVAL ends the list
        for index in range(_MOST):
            data = bytearray(_FORMAT.pack(index, kind, 0, b"", 0))
            control(handle, _LIST_FORMATS, data)
            yield _FORMAT.unpack(data)[4]


def _largest(handle: int, code: int, control: Control) -> str:
    """Width and height, "1920x1080"; of a range its upper end."""
    sizes = [(0, 0)]
    with suppress(OSError):  # EINVAL ends the list, ENOTTY: the driver has none
        for index in range(_MOST):
            data = bytearray(_SIZE.pack(index, code, 0, *[0] * 6))
            control(handle, _LIST_SIZES, data)
            _, _, kind, *values = _SIZE.unpack(data)
            sizes.append((values[0], values[1]) if kind == _DISCRETE else (values[1], values[4]))
            if kind != _DISCRETE:
                break
    width, height = max(sizes)
    return f"{width}x{height}"


def _letters(code: int) -> str:
    """The four letters of a pixel format, such as "MJPG"; the top bit marks big-endian forms."""
    return _text((code & 0x7FFFFFFF).to_bytes(4, "little"))


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode(errors="replace").strip()


def _ioctl(handle: int, request: int, data: bytearray) -> None:
    buffer = array.array("B", data)
    fcntl.ioctl(handle, request, buffer, True)
    data[:] = buffer.tobytes()
