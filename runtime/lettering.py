"""Text on coloured plates, in a size that suits the picture."""

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import cv2

from edgewright.runtime.results import Image

Color = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Capitals of FONT_HERSHEY_SIMPLEX are 21 pixels high at scale 1.
_FONT_PIXELS = 21
# OpenCV 5 draws Unicode; before, a font had ASCII only and every other byte became '?'.
_ASCII_ONLY = int(cv2.__version__.split(".")[0]) < 5


@dataclass(frozen=True)
class Lettering:
    """Sizes in pixels: a plate is `height` high, its text stands on `baseline` from the top, `pad` from the left."""

    height: int
    baseline: int
    pad: int
    scale: float
    line: int


def lettering_for(size_hw: tuple[int, int]) -> Lettering | None:
    """The sizes for a picture of `size_hw`, readable from 320x240 to 8K; None where a plate would hide the picture
    (below about 100 pixels)."""
    side = min(size_hw)
    scale = max(9.0, 0.017 * side) / _FONT_PIXELS
    line = max(1, round(scale * 1.6))
    (_, text_height), below = cv2.getTextSize("Ag", _FONT, scale, line)
    pad = max(1, text_height // 5)
    height = text_height + below + 2 * pad
    return Lettering(height, pad + text_height, pad, scale, line) if height * 8 <= side else None


def draw_plate(
    picture: Image,
    text: str,
    *,
    left: int,
    top: int,
    max_width: int,
    color: Color,
    lettering: Lettering,
    tail: str = "",
) -> None:
    """Write `text` and `tail` on a plate of `color`, moved to lie inside the picture; `text` is cut to fit `max_width`,
    `tail` is not."""
    h, w = picture.shape[:2]
    shown, text_width = fitted(text, tail, min(max_width, w) - 2 * lettering.pad, lettering)
    if not shown:
        return
    width = text_width + 2 * lettering.pad
    x, y = max(0, min(left, w - width)), max(0, min(top, h - lettering.height))
    cv2.rectangle(picture, (x, y), (x + width - 1, y + lettering.height - 1), color, cv2.FILLED)
    start = (x + lettering.pad, y + lettering.baseline)
    cv2.putText(picture, shown, start, _FONT, lettering.scale, contrasting(color), lettering.line, cv2.LINE_AA)


def fitted(text: str, tail: str, room: int, lettering: Lettering) -> tuple[str, int]:
    """The longest start of `text`, with `tail`, that fits into `room` pixels, and its width; "" when `tail` does not."""
    text = writable(text)
    kept = len(text)
    while kept >= 0:
        shortened = text if kept == len(text) else f"{text[:kept]}.." if kept else ""
        candidate = (shortened + tail).strip()
        width = int(cv2.getTextSize(candidate, _FONT, lettering.scale, lettering.line)[0][0])
        if width <= room:
            return candidate, width
        # Jump near the right length: a label may be a whole paragraph.
        kept = max(min(kept - 1, kept * room // width), 0) if kept else -1
    return "", 0


def writable(text: str, *, ascii_only: bool = _ASCII_ONLY) -> str:
    """`text` on one line; letters that the font lacks become their plain form (é → e) or '?'."""
    line = " ".join(text.split())
    if not ascii_only:
        return line
    plain = unicodedata.normalize("NFKD", line)
    return "".join(c if c.isascii() else "?" for c in plain if not unicodedata.combining(c))


@lru_cache(maxsize=1024)
def contrasting(color: Color) -> Color:
    """Black or white, whichever is easier to read on a BGR `color`: always at a contrast of 4.5 or more."""
    # Relative luminance as WCAG 2 defines it; black and white are equally good at 0.179.
    blue, green, red = (_linear(value / 255) for value in color)
    return (0, 0, 0) if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else (255, 255, 255)


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)
