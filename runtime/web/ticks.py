"""What the page shows beside the picture, made once for all who watch."""

import asyncio
import json
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgewright.runtime.web.health import complaints
from edgewright.runtime.web.view import RunView

TICK_S = 0.5
# One minute.
_HISTORY = 120


class Ticks:
    """A snapshot of the run every TICK_S, as JSON. `event` is the newest one; `history` has the main figures of the last
    minute, so that a page that is opened has something to show."""

    def __init__(self, view: RunView, *, silence_s: float) -> None:
        self.number = 0
        self.event = b"{}"
        self._view = view
        self._silence_s = silence_s
        self._watching = 0
        self._history: deque[dict[str, Any]] = deque(maxlen=_HISTORY)
        self._next = asyncio.Event()

    async def tick(self) -> None:
        """Tick for ever."""
        while True:
            await asyncio.sleep(TICK_S)
            snapshot = self.snapshot(results=self._watching > 0)
            self._history.append(_main_figures(snapshot))
            self.event = _encoded(snapshot)
            self.number += 1
            waiting, self._next = self._next, asyncio.Event()
            waiting.set()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Have what was found in the snapshots while somebody watches."""
        self._watching += 1
        try:
            yield
        finally:
            self._watching -= 1

    async def newer(self, number: int) -> tuple[int, bytes]:
        """The newest snapshot and its number, when that is higher."""
        while self.number <= number:
            await self._next.wait()
        return self.number, self.event

    def snapshot(self, *, results: bool = True) -> dict[str, Any]:
        """What the run does now."""
        status = self._view.status()
        reasons = complaints(self._view, status, silence_s=self._silence_s)
        health = {"ok": not reasons, "reasons": reasons}
        return {**self._view.snapshot(status, results=results), "health": health}

    def with_history(self) -> bytes:
        """What the run does now, and its main figures of the last minute."""
        return _encoded({**self.snapshot(), "history": list(self._history)})


def _main_figures(snapshot: dict[str, Any]) -> dict[str, Any]:
    """The figures that the page draws over time, by source."""
    return {
        source["name"]: {
            "frames_per_s": source["frames_per_s"],
            "age_ms": source["age_ms"] and source["age_ms"]["p50"],
            "stages": {stage: figures["p50"] for stage, figures in source["stages"].items()},
        }
        for source in snapshot["sources"]
    }


def _encoded(snapshot: dict[str, Any]) -> bytes:
    text = json.dumps(snapshot, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
    # A file name that is no UTF-8 comes as lone surrogates; as `\udcff` they are valid JSON.
    return text.encode("utf-8", "backslashreplace")
