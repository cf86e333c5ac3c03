"""A live source that is opened again when it fails or falls silent, and never keeps its reader waiting for ever."""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal

import numpy as np

from edgewright.runtime.channel import Channel, Ended, read_into
from edgewright.runtime.errors import EdgeError, SourceError
from edgewright.runtime.results import Frame
from edgewright.runtime.sources import Source, open_source

_log = logging.getLogger(__name__)
SourceState = Literal["starting", "running", "stalled", "restarting", "stopped"]
_LEAVE_S, _LOOK_S = 1.0, 0.05


@dataclass(frozen=True)
class Patience:
    """How long a source may take, in seconds.

    `start_s` from opening to the first frame, `stall_s` between frames. The delay before it is opened again grows from
    `first_delay_s` to `longest_delay_s`, and begins anew when it ran for `steady_s`. A reader that is stuck is left behind;
    with `most_stuck` of them no further one is started.
    """

    start_s: float = 30.0
    stall_s: float = 10.0
    first_delay_s: float = 0.5
    longest_delay_s: float = 30.0
    steady_s: float = 5.0
    most_stuck: int = 3


def open_supervised(uri: str, *, newest: bool = True) -> Source:
    """The source that `uri` names; one that may come back after a failure is supervised. What fails now is an error."""
    source = open_source(uri)
    return SupervisedSource(source, lambda: open_source(uri), newest=newest) if source.reopens else source


class SupervisedSource(Source):
    """The frames of `source`, and after a failure those of `reopen()`, numbered on. It ends when it is interrupted or closed.

    It is read by a thread of its own, which opens and closes it, so that a call into a driver that never returns holds nobody
    else up. `events` counts what happened: "failures", "stalls", "restarts", "size_changes", "corrupt_frames".
    """

    live = True

    def __init__(
        self,
        source: Source,
        reopen: Callable[[], Source],
        *,
        patience: Patience = Patience(),
        newest: bool = True,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self.name, self.fps = source.name, source.fps
        self.state: SourceState = "starting"
        self.events: Counter[str] = Counter()
        self._reopen = reopen
        self._patience = patience
        self._newest = newest
        self._chance = chance
        # No threading.Event: a signal handler sets it, perhaps while this very thread holds the lock of the event.
        self._over = False
        self._sleep = sleep or self._doze
        self._numbers = count()
        self._size_hw: tuple[int, int] | None = None
        self._failed_in_a_row = 0
        self._stuck: list[_Reader] = []
        self._past_dropped = self._past_skipped = 0
        self._reader = self._started(lambda: source)

    def __enter__(self) -> "SupervisedSource":
        return self

    def __iter__(self) -> Iterator[Frame]:
        while not self._over:
            frame = self._next()
            if frame is not None:
                self._look_at(frame)
                yield frame
        self.state = "stopped"

    def interrupt(self) -> None:
        self._over = True

    def close(self) -> None:
        self._over = True
        self._reader.leave()
        self._reader.thread.join(_LEAVE_S)
        if self._reader.thread.is_alive():
            _log.warning("%s does not answer; its reader is left behind", self.name)
        self.state = "stopped"

    def _doze(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._over and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_S))

    def _next(self) -> Frame | None:
        """The next frame; None when the source had to be opened again instead."""
        patience = self._patience.stall_s if self._reader.frames else self._patience.start_s
        try:
            frame = self._reader.channel.get(patience)
        except Ended:
            return None
        except TimeoutError:
            self.state = "stalled"
            self._restart("stalls", f"{self.name} gave no frame for {patience:g} s")
            return None
        except EdgeError as err:
            self._restart("failures", str(err))
            return None
        finally:
            self._count()
        self.state = "running"
        if self._reader.age_s > self._patience.steady_s:
            self._failed_in_a_row = 0
        return frame

    def _restart(self, event: str, reason: str) -> None:
        self.events[event] += 1
        old = self._reader
        old.leave()
        self._past_dropped += old.channel.dropped
        self._past_skipped += old.skipped
        self._stuck = [reader for reader in (*self._stuck, old) if reader.thread.is_alive()]
        while not self._over:
            delay_s = self._delay_s()
            _log.warning("%s; trying again in %.1f s", reason, delay_s)
            self.state = "restarting"
            self._sleep(delay_s)
            self._stuck = [reader for reader in self._stuck if reader.thread.is_alive()]
            if len(self._stuck) < self._patience.most_stuck:
                break
            reason = f"{self.name}: {len(self._stuck)} attempts to read it have not come back"
        if not self._over:
            self.events["restarts"] += 1
            self._reader = self._started(self._reopen)

    def _delay_s(self) -> float:
        """Twice as long after every failure, and somewhere between half and all of it, so that devices do not come at once."""
        longest = self._patience.longest_delay_s
        # 2.0 ** 1024 is too large for a float.
        whole = min(longest, self._patience.first_delay_s * 2.0 ** min(self._failed_in_a_row, 60))
        self._failed_in_a_row += 1
        return whole * (0.5 + 0.5 * self._chance())

    def _started(self, opening: Callable[[], Source]) -> "_Reader":
        channel = Channel[Frame](1, newest=self._newest, given_up=lambda: self._over)
        return _Reader(self.name, opening, channel, self._numbers)

    def _count(self) -> None:
        self.dropped = self._past_dropped + self._reader.channel.dropped
        self.skipped = self._past_skipped + self._reader.skipped
        self.events["corrupt_frames"] = self.skipped

    def _look_at(self, frame: Frame) -> None:
        if self._size_hw not in (None, frame.size_hw):
            self.events["size_changes"] += 1
            _log.warning("%s: the size of the picture changed from %s to %s", self.name, self._size_hw, frame.size_hw)
        self._size_hw = frame.size_hw


class _Reader:
    """One opening of a source, in a thread of its own."""

    def __init__(
        self, name: str, opening: Callable[[], Source], channel: Channel[Frame], numbers: Iterator[int]
    ) -> None:
        self.channel = channel
        self.frames = self.corrupt = 0
        self._name = name
        self._opening = opening
        self._numbers = numbers
        self._first_s = 0.0
        self._source: Source | None = None
        self.thread = threading.Thread(target=self._run, name=f"edgewright reader of {name}", daemon=True)
        self.thread.start()

    @property
    def skipped(self) -> int:
        return self.corrupt + (self._source.skipped if self._source is not None else 0)

    @property
    def age_s(self) -> float:
        """Since the first frame."""
        return time.monotonic() - self._first_s if self.frames else 0.0

    def leave(self) -> None:
        self.channel.cancel()

    def _run(self) -> None:
        with read_into(self.channel, self._name):
            with self._opening() as self._source:
                self._read(self._source)
            raise SourceError(f"{self._source.name} ended")

    def _read(self, source: Source) -> None:
        for frame in source:
            if not _is_picture(frame.image):
                self.corrupt += 1
                continue
            if self.frames == 0:
                self._first_s = time.monotonic()
            self.frames += 1
            self.channel.put(replace(frame, index=next(self._numbers)))


def _is_picture(image: object) -> bool:
    return (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and image.ndim == 3
        and image.shape[2] == 3
        and image.size > 0
    )
