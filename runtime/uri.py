"""The grammar of sources and sinks: `word:location[?option=value&...]`."""

import math
import re
from pathlib import Path

from edgewright.runtime.errors import UsageError
from edgewright.runtime.plugins import suggestion

_WORD = re.compile(r"([a-z][a-z0-9_]+):(.*)", re.DOTALL)
_OPTIONS = re.compile(r"(.*?)\?([a-z_]+=[^&?]*(?:&[a-z_]+=[^&?]*)*)", re.DOTALL)

_PAIR = re.compile(r"[a-z_]+=[^\s&?]*")
# Up to the last '@': a password may hold another one, and a slash by mistake.
_USER = re.compile(r"//\S*@")
# Cameras also take them within the path: `/user=admin_password=secret_channel=1.sdp`.
_SECRET = re.compile(r"((?:user|username|login|pass|passwd|password|pwd|token|key)=)[^&_/\s?#]*", re.IGNORECASE)
_QUERY = re.compile(r"(\w+://[^\s?]*)\?\S+")


def split_word(uri: str) -> tuple[str, str] | None:
    """`video:a.mp4` as ("video", "a.mp4"); None when `uri` starts with no word of small letters."""
    match = _WORD.fullmatch(uri)
    return None if match is None else (match[1], match[2])


def split_options(what: str, text: str, known: tuple[str, ...] = ()) -> tuple[str, dict[str, str]]:
    """`a?size=4x6&fps=5` as ("a", {"size": "4x6", "fps": "5"}); a '?' that starts no `key=value` is left alone.

    UsageError for an option of `what` ("sink images") that is not in `known`.
    """
    match = _OPTIONS.fullmatch(text)
    if match is None:
        return text, {}
    options = dict(pair.split("=", 1) for pair in match[2].split("&"))
    for key in options:
        if key not in known:
            there = f"it has: {', '.join(known)}" if known else "it has none"
            raise UsageError(f"{what} has no option '{key}'{suggestion(key, known)}; {there}")
    return match[1], options


def take_options(text: str, names: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """The options of these `names` taken out of `text`, and what is left: `//host/a?channel=1&rotate=90` as
    ("//host/a?channel=1", {"rotate": "90"}); whatever else stands there is not looked at."""
    head, mark, tail = text.rpartition("?")
    pairs = tail.split("&") if mark else []
    taken = [pair for pair in pairs if _PAIR.fullmatch(pair) and pair.partition("=")[0] in names]
    if not taken:
        return text, {}
    left = [pair for pair in pairs if pair not in taken]
    return head + ("?" + "&".join(left) if left else ""), dict(pair.split("=", 1) for pair in taken)


def masked(uri: str) -> str:
    """`uri` as it may be shown: without user, password and what a query says, as in `rtsp://***@host/live?***`."""
    hidden = _SECRET.sub(r"\1***", _USER.sub("//***@", uri))
    return _QUERY.sub(r"\1?***", hidden)


def file_word(name: str) -> str:
    """The part of a source's name that files are called by, "" when it has none: `street` of `clips/street.mp4`.

    A pipeline has no name but itself: `gstreamer_v4l2src_device_dev_video0_videoconvert`.
    """
    stem = name if name.startswith("gstreamer:") else Path(name).stem
    # 50 characters are at most 200 of the 255 bytes that file systems allow.
    return re.sub(r"[^\w.-]+", "_", stem).strip("_")[:50]


def size_hw(what: str, text: str) -> tuple[int, int]:
    """`480x640` as (480, 640); UsageError that names `what` otherwise."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or not (16 <= int(match[1]) <= 8192 and 16 <= int(match[2]) <= 8192):
        raise UsageError(f"{what} must be HEIGHTxWIDTH, each 16 to 8192; got '{text}'")
    return int(match[1]), int(match[2])


def number(what: str, text: str, *, at_least: float, at_most: float) -> float:
    """`text` as a number within the limits; UsageError that names `what` otherwise."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not at_least <= value <= at_most:
        raise UsageError(f"{what} must be a number from {at_least:g} to {at_most:g}, got '{text}'")
    return value


def duration_s(what: str, text: str) -> float:
    """`90`, `90s`, `15m`, `24h` or `7d` in seconds; UsageError that names `what` otherwise."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    seconds = 0.0 if match is None else float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    if not 0 < seconds <= 366 * 86400:
        raise UsageError(f"{what} must be a time such as 90s, 15m, 24h or 7d, and a year at most; got '{text}'")
    return seconds


def positive_number(what: str, text: str, *, at_most: float) -> float:
    """`text` as a number above zero; UsageError that names `what` otherwise."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= at_most:
        raise UsageError(f"{what} must be a number above 0 and up to {at_most:g}, got '{text}'")
    return value
