"""The frames of a recording, as fast as they decode, or at the pace at which they came: `replay:out/monday?speed=1`."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from edgewright.runtime.errors import SourceError
from edgewright.runtime.recording import Recording
from edgewright.runtime.results import Frame
from edgewright.runtime.sources import Source
from edgewright.runtime.uri import positive_number, split_options

_log = logging.getLogger(__name__)


def from_uri(text: str) -> "ReplaySource":
    """The recording in the folder `text`; SourceError when it is none."""
    location, options = split_options("source replay", text, ("speed",))
    speed = options.get("speed")
    return ReplaySource(
        Recording(Path(location)),
        speed=None if speed is None else positive_number("option speed of source replay", speed, at_most=1000),
    )


class ReplaySource(Source):
    """Recorded frames under the numbers and the sources that they had, with the time since the first one as
    `meta["pos_msec"]`. With a `speed`, 1 being that of the recorded run, they come when they are due, as from a camera."""

    def __init__(self, recording: Recording, *, speed: float | None = None) -> None:
        self.name = str(recording.path)
        self.length = len(recording)
        self.fps = recording.fps
        self.live = speed is not None
        self._recording = recording
        self._speed = speed

    def __iter__(self) -> Iterator[Frame]:
        start, damaged, count = time.monotonic(), 0, 0
        for recorded in self._recording:
            image = recorded.image
            damaged += image is None
            self.skipped = self._recording.skipped + damaged
            if image is None:
                _log.warning("%s: the picture of frame %d is damaged, it is left out", self.name, recorded.index)
                continue
            if self._speed is not None:
                time.sleep(max(0.0, start + recorded.position_s / self._speed - time.monotonic()))
            meta = {"pos_msec": 1000 * recorded.position_s}
            yield Frame(image, recorded.index, time.monotonic(), recorded.source, meta=meta)
            count += 1
        self.skipped = self._recording.skipped + damaged
        if count == 0:
            raise SourceError(f"recording {self.name} holds no whole frame; record again")
