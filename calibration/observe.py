"""The values of a network's tensors over calibration images, in one pass that can be interrupted and resumed."""

import hashlib
import json
import logging
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgewright.calibration.histogram import BINS, Histogram
from edgewright.calibration.network import copied
from edgewright.calibration.reference_session import VERSION, reference_session
from edgewright.runtime.atomic import atomic_file
from edgewright.runtime.errors import CalibrationError

_log = logging.getLogger(__name__)

Feeds = dict[str, npt.NDArray[Any]]
FORMAT = 1
_SAVE_EVERY = 16
# The curve is taken at these shares of the percentile of magnitudes, after 4, 8, 16, ... images.
_CURVE_SHARE = 0.9999
_FIRST_POINT = 4


@dataclass(frozen=True, eq=False)
class Observation:
    """What was seen: a histogram of each tensor, how many images, and after how many images the ranges were how far from
    the final ones (mean relative difference over the tensors)."""

    histograms: dict[str, Histogram]
    images: int
    curve: tuple[tuple[int, float], ...]

    def enough(self, tolerance: float = 0.02) -> int | None:
        """The number of images after which ranges stayed within `tolerance` of the final ones; None when they never did
        before the last image."""
        settled = None
        for count, difference in reversed(self.curve[:-1]):
            if difference > tolerance:
                break
            settled = count
        return settled


def observe(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    feeds: Sequence[Callable[[], Feeds]],
    *,
    cache: Path | None = None,
    key: dict[str, str] | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Observation:
    """The distribution of `tensors` over the inputs that `feeds` make, one after the other.

    `cache` is a file that an interrupted run continues from; it is used when it was written for the same `key` and the same
    tensors, else the log says which part differs. CalibrationError when a tensor becomes NaN or infinite.
    """
    identity = {
        **(key or {}),
        "tensors": _digest(tensors),
        "onnxruntime": VERSION,
        "bins": str(BINS),
    }
    state = _resumed(cache, identity, tensors) or _State({name: Histogram.empty() for name in tensors}, 0, {})
    session = reference_session(with_outputs(model, tensors))
    for index in range(state.images, len(feeds)):
        _add(state, tensors, session.run(list(tensors), feeds[index]()))
        state.images = index + 1
        if _is_point(state.images) or state.images == len(feeds):
            state.points[state.images] = [_range(state.histograms[name]) for name in tensors]
        if cache is not None and (state.images % _SAVE_EVERY == 0 or state.images == len(feeds)):
            _save(cache, identity, state)
        tell(state.images, len(feeds))
    return Observation(state.histograms, state.images, _curve(state.points))


def largest_magnitudes(model: onnx.ModelProto, feeds: Sequence[Callable[[], Feeds]]) -> dict[str, float]:
    """The largest magnitude of every float tensor over the inputs, for the guard against overflow in half precision."""
    produced = [name for node in model.graph.node for name in node.output if name]
    floats = {v.name for v in model.graph.value_info if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    floats |= {value.name for value in model.graph.output}
    tensors = [name for name in produced if name in floats]
    session = reference_session(with_outputs(model, tensors))
    found = dict.fromkeys(tensors, 0.0)
    for feed in feeds:
        for name, value in zip(tensors, session.run(tensors, feed()), strict=True):
            found[name] = max(found[name], float(np.abs(value).max(initial=0.0)))
    return found


def with_outputs(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """The model with `tensors` as its only outputs, and without the nodes that none of them needs."""
    copy = copied(model)
    graph, inputs = copy.graph, {value.name for value in copy.graph.input}
    needed, kept = set(tensors), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    del graph.node[:], graph.output[:]
    graph.node.extend(reversed(kept))
    missing = sorted(set(tensors) - {name for node in graph.node for name in node.output} - inputs)
    if missing:
        raise CalibrationError(
            f"the network has no tensor '{missing[0]}'; prepare it anew and choose its tensors again"
        )
    graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in tensors)
    return copy


@dataclass(eq=False)
class _State:
    histograms: dict[str, Histogram]
    images: int
    points: dict[int, list[float]]


def _add(state: _State, tensors: Sequence[str], values: Sequence[npt.NDArray[Any]]) -> None:
    for name, value in zip(tensors, values, strict=True):
        if not np.isfinite(value.max(initial=0) - value.min(initial=0)):
            raise CalibrationError(
                f"tensor '{name}' becomes NaN or infinite on calibration image {state.images + 1}; check the network in fp32 with "
                "`edgewright verify`, and the image"
            )
        state.histograms[name].add(value)


def _is_point(images: int) -> bool:
    return images >= _FIRST_POINT and images & (images - 1) == 0


def _range(histogram: Histogram) -> float:
    from edgewright.calibration.collectors.percentile import threshold

    return threshold(histogram, share=_CURVE_SHARE) if histogram.largest > 0 else 0.0


def _curve(points: dict[int, list[float]]) -> tuple[tuple[int, float], ...]:
    if not points:
        return ()
    final = np.array(points[max(points)])
    scale = np.where(final > 0, final, 1.0)
    return tuple((count, float(np.mean(np.abs(np.array(points[count]) - final) / scale))) for count in sorted(points))


def _resumed(cache: Path | None, identity: dict[str, str], tensors: Sequence[str]) -> _State | None:
    if cache is None or not cache.exists():
        return None
    try:
        with np.load(cache, allow_pickle=False) as archive:
            header = json.loads(str(archive["header"]))
            counts, extremes = archive["counts"], archive["extremes"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as err:
        _log.warning("calibration starts anew: %s cannot be read (%s)", cache, err)
        return None
    if header.get("format") != FORMAT:
        _log.warning("calibration starts anew: %s is of another version", cache)
        return None
    stored = header["identity"]
    different = sorted(name for name in {*stored, *identity} if stored.get(name) != identity.get(name))
    if different:
        _log.warning("calibration starts anew: %s is of another %s", cache, ", ".join(different))
        return None
    histograms = {
        name: Histogram(float(limit), row.copy(), float(low), float(high))
        for name, row, (limit, low, high) in zip(tensors, counts, extremes, strict=True)
    }
    points = {int(count): values for count, values in header["points"].items()}
    _log.info("calibration continues after %d images of %s", header["images"], cache)
    return _State(histograms, header["images"], points)


def _save(cache: Path, identity: dict[str, str], state: _State) -> None:
    histograms = state.histograms.values()
    header = {"format": FORMAT, "identity": identity, "images": state.images, "points": state.points}
    with atomic_file(cache) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            allow_pickle=False,
            header=np.array(json.dumps(header)),
            counts=np.array([histogram.counts for histogram in histograms]),
            extremes=np.array([(h.limit, h.low, h.high) for h in histograms]),
        )


def _digest(tensors: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(tensors).encode()).hexdigest()
