"""The newest picture of each source as JPEG, encoded once for all who watch, and only while somebody does."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import cv2
import numpy as np

from edgewright.runtime.results import Image

# However many watch, no more pictures than these leave in a second: what sending costs must not grow with the audience.
SENDS_PER_S = 100.0


@dataclass(frozen=True)
class PictureOptions:
    """At most `fps` pictures a second, no wider than `width` pixels, in JPEG's `quality` of 1 to 100."""

    fps: float = 10.0
    quality: int = 75
    width: int = 960


@dataclass(frozen=True, eq=False)
class Picture:
    """A JPEG and its number; a later one has a higher number."""

    number: int
    jpeg: bytes


class Pictures:
    """Takes pictures in the loop's thread; everything else is called in that of the server."""

    def __init__(self, options: PictureOptions, *, sends_per_s: float = SENDS_PER_S) -> None:
        self._options = options
        self._sends_per_s = sends_per_s
        self._watching: Counter[str] = Counter()
        self._due_s: dict[str, float] = {}
        self._offered: dict[str, Image] = {}
        self._newest: dict[str, Picture] = {}
        self._came = asyncio.Event()
        self._next = asyncio.Event()
        self._server: asyncio.AbstractEventLoop | None = None
        self._number = 0

    @property
    def wanted(self) -> bool:
        """Whether a picture of any source is due for somebody who watches."""
        now = time.monotonic()
        return any(now >= due_s for due_s in tuple(self._due_s.values()))

    def offer(self, source: str, picture: Image) -> None:
        """Take a picture of `source`, if one is due."""
        now, due_s = time.monotonic(), self._due_s.get(source)
        if due_s is None or now < due_s or self._server is None:
            return
        # By the rate and not by when this one came, so that the rate is reached; what was missed is not made up.
        interval_s = self._interval_s()
        self._due_s[source] = (due_s if due_s + interval_s > now else now) + interval_s
        self._offered[source] = picture
        # The server may have ended, and the run goes on.
        with suppress(RuntimeError):
            self._server.call_soon_threadsafe(self._came.set)

    @contextmanager
    def watch(self, source: str) -> Iterator[None]:
        """Have pictures of `source` while somebody watches."""
        self._watching[source] += 1
        self._due_s.setdefault(source, 0.0)
        try:
            yield
        finally:
            self._watching[source] -= 1
            if not self._watching[source]:
                for kept in (self._due_s, self._offered, self._newest, self._watching):
                    kept.pop(source, None)

    async def newer(self, source: str, number: int) -> Picture:
        """The newest picture of `source`, when it has a higher number."""
        while (picture := self._newest.get(source)) is None or picture.number <= number:
            await self._next.wait()
        return picture

    async def encode(self) -> None:
        """Turn what is offered into JPEG, for ever."""
        self._server = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="edgewright jpeg") as encoder:
            while True:
                await self._came.wait()
                self._came.clear()
                for source in tuple(self._offered):
                    image = self._offered.pop(source)
                    jpeg = await self._server.run_in_executor(encoder, _encoded, image, self._options)
                    if jpeg and source in self._watching:
                        self._publish(source, jpeg)

    def _publish(self, source: str, jpeg: bytes) -> None:
        self._number += 1
        self._newest[source] = Picture(self._number, jpeg)
        waiting, self._next = self._next, asyncio.Event()
        waiting.set()

    def _interval_s(self) -> float:
        return max(1 / self._options.fps, sum(self._watching.values()) / self._sends_per_s)


def _encoded(image: Image, options: PictureOptions) -> bytes:
    """Empty for what JPEG cannot hold, a picture of more than 65500 rows."""
    h, w = image.shape[:2]
    try:
        if w > options.width:
            size_wh = (options.width, max(1, round(h * options.width / w)))
            image = np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
        done, jpeg = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, options.quality))
    except cv2.error:
        return b""
    return jpeg.tobytes() if done else b""
