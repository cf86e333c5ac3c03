"""What a run does when its engine fails: it is opened again once, and then another backend, if one was named."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgewright.runtime.errors import BackendError, BundleError, MissingDependencyError
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.results import Frame
from edgewright.runtime.sources import Source

_log = logging.getLogger(__name__)
# What is wrong with an engine, its installation or its model file, and not with another's.
ENGINE_ERRORS = (BackendError, BundleError, MissingDependencyError)


@dataclass(frozen=True)
class Opener:
    """A way to a predictor, by the name of its backend."""

    backend: str
    open: Callable[[], Predictor]


class Engines:
    """The predictor in use, by the first opener that works; `events`, the run's own if they are given, counts
    "backend_restarts" and "backend_fallbacks"."""

    def __init__(self, openers: Sequence[Opener], *, events: Counter[str] | None = None) -> None:
        self.events: Counter[str] = Counter() if events is None else events
        self._openers = list(openers)
        self._may_restart = True
        self.predictor = self._first()
        self._is_open = True

    def replace(self, err: BackendError) -> Predictor:
        """What to go on with after `err`: the same backend once more, then the next one; `err` when there is none."""
        _log.warning("backend %s: %s", self._openers[0].backend, err)
        self.close()
        if not (self._may_restart and self._restart()):
            if len(self._openers) == 1:
                raise err
            self._fall_back()
            self.predictor = self._first()
            self._may_restart = True
        self._is_open = True
        return self.predictor

    def close(self) -> None:
        if self._is_open:
            self.predictor.close()
            self._is_open = False

    def abandon(self) -> None:
        """Leave the engine as it is: closing it would wait for the inference that does not return."""
        self._is_open = False

    def __enter__(self) -> "Engines":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _restart(self) -> bool:
        self._may_restart = False
        try:
            self.predictor = self._openers[0].open()
        except ENGINE_ERRORS as err:
            _log.warning("backend %s cannot be opened again: %s", self._openers[0].backend, err)
            return False
        self.events["backend_restarts"] += 1
        _log.warning("backend %s is opened again", self._openers[0].backend)
        return True

    def _first(self) -> Predictor:
        try:
            return self._openers[0].open()
        except ENGINE_ERRORS as err:
            if len(self._openers) == 1:
                raise
            _log.warning("backend %s cannot be used: %s", self._openers[0].backend, err)
        self._fall_back()
        return self._first()

    def _fall_back(self) -> None:
        self.events["backend_fallbacks"] += 1
        del self._openers[0]
        _log.warning("falling back to backend %s", self._openers[0].backend)


class Continued(Source):
    """`source` in one iteration, of up to `size` frames at a time, that goes on where the last one ended, whichever thread that
    was."""

    def __init__(self, source: Source, size: int = 1) -> None:
        self.name, self.length, self.fps, self.labels = source.name, source.length, source.fps, source.labels
        self.live, self.reopens = source.live, source.reopens
        self.on_demand = source.on_demand
        self._source = source
        self._batches = source.batches(size)
        # A thread that was left behind may still wait for a frame.
        self._one_at_a_time = threading.Lock()

    def __iter__(self) -> Iterator[Frame]:
        for frames in self.batches(1):
            yield from frames

    def batches(self, size: int) -> Iterator[Sequence[Frame]]:
        """The frames as they were asked for in the beginning."""
        while True:
            with self._one_at_a_time:
                frames = next(self._batches, None)
            if frames is None:
                return
            yield frames

    def interrupt(self) -> None:
        self._source.interrupt()
