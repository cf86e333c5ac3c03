"""Several frames in one network at once: each, or each batch, has a lane with an input of its own, while the engine works."""

import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgewright.runtime.backends import Backend, Tensors
from edgewright.runtime.errors import UsageError
from edgewright.runtime.pending import EngineCall
from edgewright.runtime.results import Image

Outputs = Mapping[str, npt.NDArray[Any]]
# (images, the regions of each) -> (feeds, the placement of each)
Prepare = Callable[[Sequence[Image], Sequence[Any]], tuple[Any, Sequence[Any]]]


@dataclass(frozen=True, eq=False)
class Answer:
    """What a network gave: outputs and placement of each frame, and the seconds that its stages took for all; the rest of the
    time was waiting.

    The outputs are valid until the lane prepares its next frames.
    """

    found: Sequence[tuple[Any, Any]]
    seconds: Mapping[str, float]


class Lane(Protocol):
    """The way of one frame, or of a batch of them, through a network. `prepare` and `start` are called by one thread, `wait` by another."""

    def prepare(self, images: Sequence[Image], regions: Sequence[Any], /) -> None: ...
    def start(self) -> None: ...
    def wait(self) -> Answer: ...


class Steps(Protocol):
    """A network that is run step by step; one whose `infer` has parts has `infer_parts`, their seconds."""

    def prepare(self, image: Image, regions: Any, /) -> tuple[Any, Any]: ...
    def infer(self, feeds: Any, /) -> Any: ...


class Request(Protocol):
    """One of several inferences that an engine has in hand; it begins by itself when those before it are done."""

    def start(self, feeds: Tensors, /) -> None: ...

    def wait(self) -> tuple[Outputs, float, float]:
        """The outputs, valid until the next start, and when it was started and done, by `time.perf_counter`."""
        ...


def engine_lanes(backend: Backend, prepares: Sequence[Prepare]) -> tuple[Lane, ...]:
    """A lane for each of `prepares`, which must not share memory.

    A backend that can hold several inferences offers `requests(count) -> tuple[Request, ...]`, and works on `streams` of them at
    a time; any other is called when its turn comes. One that gives outputs in memory of their own says so by `fresh_outputs`; else
    they are copied.
    """
    offered = getattr(backend, "requests", None)
    requests = (
        tuple(_Call(backend) for _ in prepares) if offered is None else tuple[Request, ...](offered(len(prepares)))
    )
    engine = _Engine(getattr(backend, "streams", 1))
    return tuple(_EngineLane(prepare, request, engine) for prepare, request in zip(prepares, requests, strict=True))


def serial_lanes(network: Steps, count: int) -> tuple[Lane, ...]:
    """Lanes for a network that cannot be at two frames at once: preparation and inference are one step."""
    return tuple(_SerialLane(network) for _ in range(count))


class _Engine:
    """When each stream of the engine was last done, so that waiting for it is not taken for inference."""

    def __init__(self, streams: int) -> None:
        self._free_s = [0.0] * streams

    def worked(self, started_s: float, done_s: float) -> float:
        """The seconds of an inference that was handed over at `started_s`; they are asked for in that order."""
        return max(0.0, done_s - max(started_s, heapq.heapreplace(self._free_s, done_s)))


class _EngineLane:
    def __init__(self, prepare: Prepare, request: Request, engine: _Engine) -> None:
        self._prepare = prepare
        self._request = request
        self._engine = engine
        # Engines read the feeds while they work.
        self._feeds: Any = None
        self._placements: Sequence[Any] = ()

    def prepare(self, images: Sequence[Image], regions: Sequence[Any], /) -> None:
        self._feeds, self._placements = self._prepare(images, regions)

    def start(self) -> None:
        with EngineCall():
            self._request.start(self._feeds)

    def wait(self) -> Answer:
        with EngineCall():
            outputs, started_s, done_s = self._request.wait()
        seconds = {"infer": self._engine.worked(started_s, done_s)}
        return Answer(by_image(outputs, self._placements), seconds)


class _Call:
    """A request to a backend that works while it is called."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._fresh = bool(getattr(backend, "fresh_outputs", False))
        self._feeds: Tensors = {}

    def start(self, feeds: Tensors, /) -> None:
        self._feeds = feeds

    def wait(self) -> tuple[Outputs, float, float]:
        start_s = time.perf_counter()
        outputs = self._backend.infer(self._feeds)
        return outputs if self._fresh else _copied(outputs), start_s, time.perf_counter()


class _SerialLane:
    def __init__(self, network: Steps) -> None:
        self._network = network
        self._given: tuple[Image, Any] | None = None

    def prepare(self, images: Sequence[Image], regions: Sequence[Any], /) -> None:
        ((image, its_regions),) = zip(images, regions, strict=True)
        self._given = (image, its_regions)

    def start(self) -> None:
        pass

    def wait(self) -> Answer:
        if self._given is None:
            raise UsageError("there is nothing to wait for yet; call prepare first")
        start_s = time.perf_counter()
        with EngineCall():
            feeds, placement = self._network.prepare(*self._given)
            prepared_s = time.perf_counter()
            outputs = _copied(self._network.infer(feeds))
        infer_s = time.perf_counter() - prepared_s
        parts = _infer_seconds(infer_s, getattr(self._network, "infer_parts", None))
        return Answer([(outputs, placement)], {"prepare": prepared_s - start_s, **parts})


def by_image(outputs: Any, placements: Sequence[Any]) -> list[tuple[Any, Any]]:
    """The outputs of each image of a batch, in the shapes that they have alone, with its placement."""
    if len(placements) == 1:
        return [(outputs, placements[0])]
    return [(row_of(outputs, row), placement) for row, placement in enumerate(placements)]


def row_of(outputs: Outputs, row: int) -> Outputs:
    """The outputs of one image of a batch, in the shapes that they have alone."""
    return {name: value[row : row + 1] for name, value in outputs.items()}


def _infer_seconds(whole_s: float, parts: Mapping[str, float] | None) -> dict[str, float]:
    """The parts that an inference has, if any; what they leave of the whole belongs to the last one."""
    if not parts:
        return {"infer": whole_s}
    return {**parts, list(parts)[-1]: list(parts.values())[-1] + whole_s - sum(parts.values())}


def _copied(outputs: Any) -> Any:
    """Backends may overwrite their outputs in the next call."""
    if not isinstance(outputs, Mapping):
        return outputs
    return {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in outputs.items()}
