"""What a process holds while it runs: memory, files and threads; and whether that grows."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import psutil

# Student's t for 95 % and 8 degrees of freedom: a line through 10 blocks. NIST/SEMATECH e-Handbook, table 1.3.6.7.2.
BLOCKS, T_95 = 10, 2.306


@dataclass(frozen=True)
class Held:
    """What a process holds at one time; `time_s` by the monotonic clock, memory resident and of the whole process."""

    time_s: float
    rss_mib: float
    files: int
    threads: int


@dataclass(frozen=True)
class Trend:
    """Growth per minute with its interval of 95 %."""

    per_minute: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.per_minute:+.4f} ({self.low:+.4f} to {self.high:+.4f})"


def held(pid: int) -> Held:
    """psutil.NoSuchProcess when it is gone."""
    process = psutil.Process(pid)
    with process.oneshot():
        return Held(time.monotonic(), process.memory_info().rss / 2**20, process.num_fds(), process.num_threads())


class Watch:
    """Samples a process every `every_s` while it is entered, or until the process ends."""

    def __init__(self, pid: int, every_s: float) -> None:
        self.samples: list[Held] = []
        self._pid = pid
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        with suppress(psutil.NoSuchProcess):
            while not self._over.wait(self._every_s):
                self.samples.append(held(self._pid))


def trend(times_s: npt.ArrayLike, values: npt.ArrayLike) -> Trend:
    """The slope of a line through the medians of BLOCKS equal stretches of time.

    Neighbouring samples of memory are alike, and a fit through all of them would claim far too narrow an interval.
    """
    when, what = np.asarray(times_s, float), np.asarray(values, float)
    if len(when) < 2 * BLOCKS:
        raise ValueError(f"{len(when)} samples are too few for a trend; {2 * BLOCKS} are the least")
    parts = np.array_split(np.argsort(when, kind="stable"), BLOCKS)
    minutes = np.array([when[part].mean() for part in parts]) / 60
    middles = np.array([np.median(what[part]) for part in parts])
    minutes -= minutes.mean()
    slope = float(minutes @ middles / (minutes @ minutes))
    rest = middles - middles.mean() - slope * minutes
    deviation = float(np.sqrt(rest @ rest / (BLOCKS - 2) / (minutes @ minutes)))
    return Trend(slope, slope - T_95 * deviation, slope + T_95 * deviation)
