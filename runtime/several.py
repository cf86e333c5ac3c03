"""Several sources as one: a frame of each in turn, so that none of them makes another wait.

    door ──▶ slot ─┐
    gate ──▶ slot ─┼─▶ the next in turn that has a frame
    yard ──▶ slot ─┘

Every source is read by a thread of its own into a slot of its own. A fast one is asked again only after the others, and one that
gives nothing is passed over. Those that go through the network at once, a batch, are taken in the same order.
"""

import logging
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from edgewright.runtime.channel import Channel, Ended, read_into
from edgewright.runtime.errors import EdgeError, UsageError
from edgewright.runtime.results import Frame
from edgewright.runtime.sources import IMAGE_SUFFIXES, Source
from edgewright.runtime.supervision import SourceState, SupervisedSource, open_supervised
from edgewright.runtime.uri import file_word

_log = logging.getLogger(__name__)
_NAMED = re.compile(r"([A-Za-z0-9][\w-]*)=(.+)", re.DOTALL)
_READ_AHEAD = 2
# About a frame of a camera: by then every one that works has given its next.
BATCH_WAIT_S = 0.04
_LEAVE_S, _LOOK_S = 2.0, 0.05


class OpenOne(Protocol):
    def __call__(self, uri: str, *, newest: bool) -> Source: ...


def open_sources(
    uris: Sequence[str],
    *,
    newest: bool | None = None,
    open_one: OpenOne = open_supervised,
    batch: int = 1,
    batch_wait_s: float = BATCH_WAIT_S,
) -> Source:
    """The source that `uris` name, each a URI or NAME=URI; several, and one with a name, come as `SeveralSources`.

    `newest` says which frames are kept while nobody asks for one; None: the newest of live sources, all of others. With a `batch`
    even one comes so; UsageError when its frames never fill it.
    """
    named = [_split_name(uri) for uri in uris]
    if len(named) == 1 and named[0][0] is None and batch == 1:
        return open_one(named[0][1], newest=newest is not False)
    with ExitStack() as opened:
        sources: dict[str, Source] = {}
        for given, uri in named:
            source = opened.enter_context(open_one(uri, newest=newest is not False))
            _check_name(given or source.name, sources)
            sources[given or source.name] = source
        _check_filled(batch, sources.values(), newest)
        opened.pop_all()
    renamed = frozenset(name for name, _ in named if name)
    return SeveralSources(sources, newest=newest, renamed=renamed, batch_wait_s=batch_wait_s)


def _check_filled(batch: int, sources: Collection[Source], newest: bool | None) -> None:
    """UsageError for a batch that is larger than what the sources ever give at once."""
    if batch > len(sources) and all(_keeps_newest(source, newest) for source in sources):
        raise UsageError(
            f"a batch holds the newest frame of each source, and there are not {batch} but {len(sources)}; say --batch {len(sources)}, "
            "or --frames all"
        )


def _keeps_newest(source: Source, newest: bool | None) -> bool:
    return source.live if newest is None else newest


def _check_name(name: str, others: Iterable[str]) -> None:
    """Files are called by the names, so these must differ there too."""
    for other in others:
        if file_word(name) == file_word(other):
            both = f"'{name}'" if name == other else f"'{file_word(name)}' ({other} and {name})"
            raise UsageError(
                f"two sources are called {both}; give each a name of its own, as in --source door=rtsp://..."
            )


class SeveralSources(Source):
    """The frames of `sources`, which belong to it, each with the name of its own as `origin`; with its number in its source.

    It ends when all have ended. One that fails does so alone: that is logged and counted as "sources_failed" in `events`, and
    the first such error is raised at the end. Frames of the `renamed` have the name as their source too, before a picture's file.
    """

    on_demand = True

    def __init__(
        self,
        sources: Mapping[str, Source],
        *,
        newest: bool | None = None,
        renamed: frozenset[str] = frozenset(),
        batch_wait_s: float = BATCH_WAIT_S,
    ) -> None:
        self.name = ", ".join(sources)
        self.live = any(source.live for source in sources.values())
        lengths = [source.length for source in sources.values() if source.length is not None]
        self.length = sum(lengths) if len(lengths) == len(sources) else None
        self._batch_wait_s = batch_wait_s
        self._turn = 0
        self._over = False
        self._changed = threading.Condition()
        self.parts = tuple(
            Part(name, source, self._slot(keeps), keeps_newest=keeps, renamed=name in renamed)
            for name, source in sources.items()
            for keeps in [_keeps_newest(source, newest)]
        )
        self._failures: list[EdgeError] = []

    @property
    def dropped(self) -> int:  # type: ignore[override]
        """What came of all sources while nobody took it."""
        return sum(part.dropped for part in self.parts)

    @property
    def skipped(self) -> int:  # type: ignore[override]
        """What could not be read of all sources."""
        return sum(part.source.skipped for part in self.parts)

    @property
    def events(self) -> Counter[str]:
        """What went wrong in all sources together."""
        total = sum((part.events for part in self.parts), Counter[str]())
        total["sources_failed"] = len(self._failures)
        return +total

    def __iter__(self) -> Iterator[Frame]:
        for frames in self.batches(1):
            yield from frames

    def batches(self, size: int) -> Iterator[list[Frame]]:
        """The frames, up to `size` at a time: of each source in turn, and of one that keeps its newest frame one a batch.

        Live sources are waited for no longer than `batch_wait_s` behind the first frame of a batch, and not at all while they
        are known to give none.
        """
        for part in self.parts:
            part.thread.start()
        while frames := self._gathered(size):
            yield frames
        if self._failures and not self._over:
            raise self._failures[0]

    def interrupt(self) -> None:
        self._over = True
        for part in self.parts:
            part.source.interrupt()

    def close(self) -> None:
        self.interrupt()
        deadline = time.monotonic() + _LEAVE_S
        for part in self.parts:
            part.slot.cancel()
        for part in self.parts:
            part.leave(deadline)

    def _slot(self, keeps_newest: bool) -> Channel[Frame]:
        return Channel[Frame](
            1 if keeps_newest else _READ_AHEAD,
            newest=keeps_newest,
            given_up=lambda: self._over,
            changed=self._changed,
        )

    def _gathered(self, size: int) -> list[Frame]:
        """The next batch; empty at the end of all."""
        frames: list[Frame] = []
        while not frames and not self._over and any(not part.over for part in self.parts):
            waits = size == 1 or not self.live
            if not waits:
                self._let_fill(size)
            frames = self._in_turn(size, waits=waits)
        return frames

    def _let_fill(self, size: int) -> None:
        """Wait until `size` sources have a frame, or all that are running, or for the limit behind the first of them.

        Meanwhile frames stay where newer ones replace them.
        """
        until_s: float | None = None
        with self._changed:
            while not self._over:
                open_parts = [part for part in self.parts if not part.over]
                late = [part for part in open_parts if not part.slot.ready]
                count = len(open_parts) - len(late)
                if count >= min(size, len(open_parts)) or (count and all(part.state != "running" for part in late)):
                    return
                if count and until_s is None:
                    until_s = time.monotonic() + self._batch_wait_s
                left_s = _LOOK_S if until_s is None else min(_LOOK_S, until_s - time.monotonic())
                if left_s <= 0:
                    return
                self._changed.wait(left_s)

    def _in_turn(self, size: int, *, waits: bool) -> list[Frame]:
        """A frame of each source in turn, and of those that keep all their frames as many as it takes."""
        frames: list[Frame] = []
        asked = [*self.parts[self._turn :], *self.parts[: self._turn]]
        while len(frames) < size and (part := self._next(asked, waits=waits)) is not None:
            frame = self._taken(part)
            if frame is not None:
                frames.append(frame)
                self._turn = (self.parts.index(part) + 1) % len(self.parts)
                asked.remove(part)
                if not part.keeps_newest:
                    asked.append(part)
        return frames

    def _next(self, asked: "Sequence[Part]", *, waits: bool) -> "Part | None":
        """The first of `asked` that has something to say; None when none will, or none has and nobody `waits`."""
        with self._changed:
            while not self._over and any(not part.over for part in asked):
                for part in asked:
                    if not part.over and part.slot.ready:
                        return part
                if not waits:
                    break
                self._changed.wait(_LOOK_S)
        return None

    def _taken(self, part: "Part") -> Frame | None:
        """The frame of a part; None when it ended instead."""
        try:
            return part.slot.get()
        except Ended:
            part.over = True
        except EdgeError as err:
            part.over = True
            self._failures.append(err)
            _log.warning("source %s failed, the others go on: %s", part.name, err)
        return None


class Part:
    """One of several sources: its reader, and where its frames wait."""

    def __init__(self, name: str, source: Source, slot: Channel[Frame], *, keeps_newest: bool, renamed: bool) -> None:
        self.name = name
        self.keeps_newest = keeps_newest
        self.source = source
        self.slot = slot
        self.over = False
        self._renamed = renamed
        self._frames = 0
        self.thread = threading.Thread(target=self._read, name=f"edgewright source {name}", daemon=True)

    @property
    def state(self) -> SourceState:
        if self.over:
            return "stopped"
        if isinstance(self.source, SupervisedSource):
            return self.source.state
        return "running" if self._frames else "starting"

    @property
    def events(self) -> Counter[str]:
        return Counter(self.source.events if isinstance(self.source, SupervisedSource) else {})

    @property
    def dropped(self) -> int:
        return self.source.dropped + self.slot.dropped

    def leave(self, deadline: float) -> None:
        """Close the source, unless its reader is stuck in it."""
        self.over = True
        if self.thread.ident is not None:
            self.thread.join(max(0.0, deadline - time.monotonic()))
        if self.thread.is_alive():
            _log.warning("%s does not answer; its reader is left behind", self.name)
        else:
            self.source.close()

    def _read(self) -> None:
        with read_into(self.slot, self.name):
            for frame in self.source:
                self._frames += 1
                self.slot.put(replace(frame, origin=self.name, source=self._source_of(frame)))

    def _source_of(self, frame: Frame) -> str:
        if not self._renamed:
            return frame.source
        path = Path(frame.source)
        return f"{self.name}/{path.name}" if path.suffix.lower() in IMAGE_SUFFIXES else self.name


def _split_name(text: str) -> tuple[str | None, str]:
    """`door=rtsp://host/live` as ("door", "rtsp://host/live"); no name where a file is called so."""
    match = _NAMED.fullmatch(text)
    return (None, text) if match is None or os.path.lexists(text) else (match[1], match[2])
