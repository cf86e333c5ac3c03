"""Where results go: one file per sink, named by the word before ':' of its URI (`jsonl:run.jsonl`)."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from edgewright.runtime import plugins
from edgewright.runtime.errors import SinkError, UsageError
from edgewright.runtime.results import Frame, Image, Result
from edgewright.runtime.status import RunStatus
from edgewright.runtime.uri import split_word

PACKAGE = __name__


def _say_nothing(sentence: str) -> None:
    pass


@dataclass(frozen=True)
class SinkContext:
    """What a sink may need to know of the run: the class names; the source's name, rate, and whether it is live.

    `status` says what the run is doing when it is called, from any thread; `tell` says a sentence to whoever started the run.
    `about` is what ran, for a sink that keeps it: the bundle, the settings, and what was asked for.
    """

    labels: tuple[str, ...]
    source: str = ""
    fps: float | None = None
    live: bool = False
    status: Callable[[], RunStatus] | None = None
    tell: Callable[[str], None] = _say_nothing
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Output:
    """What a loop knows of one frame when it leaves: `age_s` since its capture, and the stages it passed so far.

    `picture` is the annotated copy, there when a sink wants it; sinks share it and do not write on it.
    """

    frame: Frame
    result: Result
    age_s: float
    latency_s: Mapping[str, float]
    picture: Image | None = None


class Sink(ABC):
    """Takes outputs in order; close it, or use it in `with`. SinkError says why an output could not be written."""

    @property
    def lost(self) -> int:
        """How many outputs were taken, and did not get where they were to."""
        return 0

    @property
    def wants_picture(self) -> bool:
        """Whether the next output should have its picture; asked for every frame, since to draw one takes time."""
        return False

    @abstractmethod
    def write(self, output: Output) -> None:
        """Take one output."""

    def close(self) -> None:  # noqa: B027 - a sink that keeps no file open has nothing to finish
        """Finish what was begun, so that it can be used; harmless when repeated."""

    def __enter__(self) -> "Sink":
        return self

    def __exit__(self, _: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_sink(uri: str, context: SinkContext) -> Sink:
    """The sink that `uri` names: `word:location`, mostly with `?option=value&...`.

    A module of this package with the name of the word offers `from_uri(what follows the colon, context) -> Sink`.
    """
    parts = split_word(uri)
    if parts is None:
        raise UsageError(f"sink '{uri}' has no word before ':'; did you mean '{_word_for_path(uri)}:{uri}'?")
    sink: Sink = plugins.load(__name__, parts[0]).from_uri(parts[1], context)
    return sink


@contextmanager
def open_sinks(uris: Sequence[str], context: SinkContext) -> Iterator[tuple[Sink, ...]]:
    """The sinks of all `uris`; each is closed at the end, whatever happens to the others."""
    with ExitStack() as stack:
        yield tuple(stack.enter_context(open_sink(uri, context)) for uri in uris)


def path_of(what: str, location: str, context: SinkContext) -> Path:
    """`location` as a path; UsageError when it is empty, or is the very file or folder that the frames come from."""
    if not location:
        raise UsageError(f"{what} does not say where to; say for example {what.split()[-1]}:out")
    refuse_source(what, location, context.source)
    return Path(location)


def refuse_source(what: str, location: str, source: str) -> None:
    """UsageError when `location` is the very file or folder that the frames come from."""
    if os.path.exists(location) and os.path.exists(source) and os.path.samefile(location, source):
        raise UsageError(f"{what} would write over its source {source}; choose another name")


def make_folder(folder: Path) -> None:
    """Make `folder` and what is above it; SinkError when that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as err:
        raise SinkError(f"{folder} is a file, a folder is wanted; choose another name") from err
    except OSError as err:
        raise SinkError(
            f"folder {folder} cannot be made: {err.strerror or err}; check its path and permissions"
        ) from err


def _word_for_path(uri: str) -> str:
    suffix = Path(uri).suffix.lower()
    return {".json": "jsonl", ".jsonl": "jsonl", ".mkv": "video", ".mp4": "video", ".avi": "video"}.get(
        suffix, "images"
    )
