"""A source turned, cut and resized: `camera:0?rotate=90&crop=0,0,640,480&resize=240x320`, in this order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np

from edgewright.runtime.errors import SourceError, UsageError
from edgewright.runtime.results import Frame, Image
from edgewright.runtime.sources import Source
from edgewright.runtime.uri import size_hw

_TURNS = {"90": cv2.ROTATE_90_CLOCKWISE, "180": cv2.ROTATE_180, "270": cv2.ROTATE_90_COUNTERCLOCKWISE}


@dataclass(frozen=True)
class View:
    """What is done to every picture: turned clockwise, cut to x1 y1 x2 y2 of the turned picture, made `resize_hw`."""

    turn: int | None
    crop_xyxy: tuple[int, int, int, int] | None
    resize_hw: tuple[int, int] | None

    def __call__(self, image: Image) -> Image:
        """The picture in memory of its own; SourceError when it lies beside the cut."""
        turned = image if self.turn is None else cv2.rotate(image, self.turn)
        cut = turned
        if self.crop_xyxy is not None:
            x1, y1, x2, y2 = self.crop_xyxy
            cut = turned[y1:y2, x1:x2]
            if 0 in cut.shape:
                raise SourceError(
                    f"crop={x1},{y1},{x2},{y2} leaves nothing of a picture of {turned.shape[0]}x{turned.shape[1]} "
                    "(height x width); choose a part of it"
                )
        if self.resize_hw is not None and cut.shape[:2] != self.resize_hw:
            smaller = self.resize_hw[0] * self.resize_hw[1] < cut.shape[0] * cut.shape[1]
            cut = cv2.resize(cut, self.resize_hw[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
        return np.ascontiguousarray(cut, np.uint8)


def view(source: Source, options: Mapping[str, str]) -> Source:
    """`source` seen through `options`; what is found lies in the pixels of the view. UsageError for one with labels."""
    try:
        if source.labels is not None:
            raise UsageError(
                f"{source.name} is labelled, and its labels would not fit a part of it; leave {', '.join(options)} out"
            )
        return _ViewSource(source, _view(options))
    except UsageError:
        source.close()
        raise


class _ViewSource(Source):
    def __init__(self, source: Source, what: View) -> None:
        self.name, self.length, self.fps = source.name, source.length, source.fps
        self.live, self.reopens = source.live, source.reopens
        self._source = source
        self._view = what

    def __iter__(self) -> Iterator[Frame]:
        try:
            for frame in self._source:
                self.skipped = self._source.skipped
                yield replace(frame, image=self._view(frame.image))
        finally:
            self.skipped = self._source.skipped

    def close(self) -> None:
        self._source.close()


def _view(options: Mapping[str, str]) -> View:
    turn, crop, resize = (options.get(name) for name in ("rotate", "crop", "resize"))
    if turn not in (None, "0", *_TURNS):
        raise UsageError(f"option rotate must be 0, 90, 180 or 270 degrees clockwise, got '{turn}'")
    return View(
        _TURNS.get(turn or ""),
        None if crop is None else _crop(crop),
        None if resize is None else size_hw("option resize", resize),
    )


def _crop(text: str) -> tuple[int, int, int, int]:
    parts = text.split(",")
    if len(parts) == 4 and all(part.isdecimal() for part in parts):
        x1, y1, x2, y2 = map(int, parts)
        if x1 < x2 and y1 < y2:
            return x1, y1, x2, y2
    raise UsageError(f"option crop must be X1,Y1,X2,Y2 in pixels with X1 < X2 and Y1 < Y2, got '{text}'")
