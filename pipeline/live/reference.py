"""What is normal in front of a camera: distributions of signals, and how far they wander by themselves; kept in the bundle."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, FiniteFloat

from edgewright.pipeline.live.signals import CLASSES, OBJECTS, PICTURE, FrameSignals, Signal, class_shares, values_of
from edgewright.runtime.errors import DataError
from edgewright.runtime.spec import Strict

FORMAT = 1
LEAST_FRAMES = 200
# Parts of the reference that are compared with the rest of it; they overlap by half.
_PARTS = 8
_LEVELS = np.linspace(0, 1, 101)
Floats = npt.NDArray[np.float64]


class SignalReference(Strict):
    """The distribution of a signal as its percentiles 0 to 100. Parts of the reference, of `usual_count` values each, are up to
    `usual` away from the rest of it."""

    quantiles: Annotated[tuple[FiniteFloat, ...], Field(min_length=101, max_length=101)]
    usual: Annotated[FiniteFloat, Field(ge=0)]
    usual_count: Annotated[FiniteFloat, Field(ge=0)]


class ClassReference(Strict):
    """The share of every label, and as above."""

    shares: tuple[FiniteFloat, ...]
    usual: Annotated[FiniteFloat, Field(ge=0)]
    usual_count: Annotated[FiniteFloat, Field(ge=0)]


class Reference(Strict):
    """What a source looked like while all was well: `frames` of it, in parts of `part` frames.

    `settings` are those of the run, since thresholds decide what is found; `thumbnail` is the mean picture, row by row.
    """

    format: Annotated[int, Field(ge=1)] = FORMAT
    source: str
    frames: int
    part: int
    settings: dict[str, Any]
    thumbnail: tuple[Annotated[int, Field(ge=0, le=255)], ...]
    signals: dict[str, SignalReference]
    classes: ClassReference | None

    @property
    def mean_picture(self) -> npt.NDArray[np.uint8]:
        return np.array(self.thumbnail, np.uint8)


def learn(frames: Sequence[FrameSignals], *, source: str, settings: Mapping[str, Any], window: int = 500) -> Reference:
    """The reference of frames in order of time; DataError when there are too few of them.

    How far a signal wanders by itself is seen on parts of it, each against all the rest: of `window` frames, or smaller ones
    where there are fewer than eight such parts.
    """
    if len(frames) < LEAST_FRAMES:
        raise DataError(
            f"{source}: {len(frames)} frames are no reference, at least {LEAST_FRAMES} are wanted, better those of a whole day; "
            "give a longer source, or more --max-frames"
        )
    part = min(window, len(frames) // _PARTS)
    mean = np.rint(np.mean([frame.thumbnail for frame in frames], axis=0)).astype(np.uint8)
    every, parts = values_of(frames, mean), _parts(len(frames), part)
    pieces = [(values_of(frames[at], mean), values_of(_without(frames, at), mean)) for at in parts]
    return Reference(
        source=source,
        frames=len(frames),
        part=part,
        settings=dict(settings),
        thumbnail=tuple(mean.tolist()),
        signals={
            signal.name: _learned(every[signal.name], [(a[signal.name], b[signal.name]) for a, b in pieces])
            for signal in known_signals(every)
            if len(every[signal.name])
        },
        classes=_learned_classes(frames, parts),
    )


def known_signals(values: Mapping[str, Any]) -> tuple[Signal, ...]:
    """Those signals that there are values of."""
    return tuple(signal for signal in (*PICTURE, *OBJECTS) if signal.name in values)


def distance(values: Floats, quantiles: Floats) -> float:
    """How far the values are from a distribution, in the unit of the signal: the mean way that they would have to go to become it
    (Wasserstein distance of order 1; Villani, "Optimal Transport", 2009, ch. 6)."""
    return float(np.mean(np.abs(np.quantile(values, _LEVELS) - quantiles)))


def class_distance(shares: Floats, others: Floats) -> float:
    """The share that would have to change its class: the same distance where all classes are equally far apart."""
    return float(np.abs(shares - others).sum() / 2)


def _learned(every: Floats, pieces: Sequence[tuple[Floats, Floats]]) -> SignalReference:
    compared = [(own, rest) for own, rest in pieces if len(own) and len(rest)]
    distances = [distance(own, np.quantile(rest, _LEVELS)) for own, rest in compared]
    return SignalReference(
        quantiles=tuple(np.quantile(every, _LEVELS).tolist()),
        usual=max(distances, default=0.0),
        usual_count=float(np.mean([len(own) for own, _ in compared])) if compared else 0.0,
    )


def _learned_classes(frames: Sequence[FrameSignals], parts: Sequence[slice]) -> ClassReference | None:
    shares = class_shares(frames)
    if not shares.sum():
        return None
    pieces = [(class_shares(frames[at]), class_shares(_without(frames, at))) for at in parts]
    return ClassReference(
        shares=tuple(shares.tolist()),
        usual=max(class_distance(own, rest) for own, rest in pieces if own.sum() and rest.sum()),
        usual_count=float(np.mean([class_count(frames[at]) for at in parts])),
    )


def class_count(frames: Sequence[FrameSignals]) -> float:
    """How many objects the shares are of; frames, where they are of pixels."""
    if frames[0].objects is None:
        return float(len(frames))
    return float(sum(len(frame.objects) for frame in frames if frame.objects is not None))


def least_change(name: str) -> float:
    """The least change of a signal that can matter."""
    return next(signal.least for signal in (*PICTURE, *OBJECTS, CLASSES) if signal.name == name)


def _parts(frames: int, part: int) -> tuple[slice, ...]:
    return tuple(slice(start, start + part) for start in range(0, frames - part + 1, max(1, part // 2)))


def _without(frames: Sequence[FrameSignals], at: slice) -> list[FrameSignals]:
    return [*frames[: at.start], *frames[at.stop :]]
