"""Proof that an exported graph does what the network did: tensor by tensor and detection by detection."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.export.result_parity import Tensors, decode, decode_beside, share_of_pixels
from edgewright.export.trial_regions import trial_regions
from edgewright.runtime.backends import Backend, BackendOptions, open_backend
from edgewright.runtime.bundle import BackendParity, Parity, PoolingDecisions
from edgewright.runtime.conveyor import render_scene
from edgewright.runtime.errors import BackendError, ExportError, MissingDependencyError, ParityError
from edgewright.runtime.geometry import Placement
from edgewright.runtime.matching import match_detections
from edgewright.runtime.preprocess import preprocess
from edgewright.runtime.proposals import region_tensor
from edgewright.runtime.results import Detections, Image, Result
from edgewright.runtime.spec import ModelSpec, PostprocessSpec

_log = logging.getLogger(__name__)

Reference = Callable[[Tensors], Tensors]

# A mask is cut out of the features by a box that may be off by as much as any output; as a result it is judged by its IoU.
_MASK_TOLERANCE = 1e-2
TENSOR_TOLERANCE = 1e-3  # of max(1, |reference|): rounding grows with the values, a fixed bound would fit no box
_PIXELS_AGREE = 0.99
_MAPS = ("semantic", "panoptic")
# Graphs that choose boxes themselves: two almost equal scores may change places, and with them whole rows. In a network of
# queries, a bit of an attention mask may fall to the other side, and with it one query.
_CHOOSING_HEADS = ("rcnn", "roi_masks", "final", "panoptic")
_CHANGED_PLACES = 500  # of so many rows or detections, one may fall to the other side of such a tie


@dataclass(frozen=True)
class Decided:
    """A copy of a graph that gives its decisions beside its outputs, and the run of the network that follows them.

    `follow` takes feeds, the outputs of the copy and words that say where; it gives the network's outputs and the decisions.
    """

    model: Path
    follow: Callable[[Tensors, Tensors, str], tuple[Tensors, Sequence[PoolingDecisions]]]


@dataclass(frozen=True)
class _Case:
    """One picture; `wanted` is empty where the reference follows a graph."""

    title: str
    feeds: Tensors
    placement: Placement
    wanted: Tensors


def prove_parity(
    reference: Reference,
    model: Path,
    spec: ModelSpec,
    *,
    images: Mapping[str, Image],
    name: str = "torch",
    backends: Sequence[str] = ("ort", "ov"),
    decided: Decided | None = None,
) -> Parity:
    """The agreement of the ONNX file `model` with `reference` (feeds → outputs by name) on every backend installed.

    With `decided`, the network follows what that copy of the graph decides; the copy's tensors are compared with it, and the
    results that the file itself gives.

    A backend that is not installed or cannot load the graph is recorded as such, and logged; ParityError names the first
    tensor or detection that differs; BackendError when ONNX Runtime itself cannot run the graph.
    """
    cases = []
    for title, image in images.items():
        feeds, placement = _prepared(image, spec)
        cases.append(_Case(title, feeds, placement, {} if decided else reference(feeds)))
    results = tuple(_compare_if_possible(backend, model, spec, cases, decided) for backend in backends)
    if spec.task in ("detect", "instance") and spec.head.kind in _CHOOSING_HEADS and not results[0].detections:
        _log.warning(
            "the network detects nothing on any of the parity images, so nothing was compared; with trained weights, give it "
            "a picture of what it knows with --image"
        )
    return Parity(reference=name, images=tuple(images), backends=results)


def parity_images(size_hw: tuple[int, int], extra: Image | None = None) -> dict[str, Image]:
    """Ordinary and adversarial pictures: blank, noise, a scene, a crowd of small objects, and the user's own."""
    scenes = [render_scene(7, index, (240, 320)).image for index in range(4)]
    small = [cv2.resize(scene, (160, 120), interpolation=cv2.INTER_AREA) for scene in scenes]
    rows = [np.hstack([small[(row + column) % 4] for column in range(4)]) for row in range(6)]
    rng = np.random.default_rng(0)
    images = {
        # A wall as a camera sees it: where all cells are exactly alike, rounding decides which of them are proposed.
        "blank": np.clip(rng.normal(114, 2, (*size_hw, 3)), 0, 255).astype(np.uint8),
        "noise": rng.integers(0, 256, (*size_hw, 3), np.uint8),
        "scene": scenes[0],
        "crowded": np.vstack(rows),
    }
    return images if extra is None else {**images, "yours": extra}


def _prepared(image: Image, spec: ModelSpec) -> tuple[Tensors, Placement]:
    tensor, placement = preprocess(image, spec.preprocess)
    feeds = {spec.inputs[0].name: tensor}
    if spec.proposals is not None:
        count = spec.proposals.count
        feeds[spec.proposals.input] = region_tensor(trial_regions(image, count), placement, count)
    return feeds, placement


def _compare_if_possible(
    backend: str, model: Path, spec: ModelSpec, cases: list[_Case], decided: Decided | None
) -> BackendParity:
    try:
        return _compare(backend, model, spec, cases, decided)
    except (MissingDependencyError, BackendError) as err:
        if backend == "ort":
            raise
        _log.warning("parity with backend '%s' is not proven: %s", backend, err)
        return BackendParity(backend=backend, problem=str(err))


def _compare(backend: str, model: Path, spec: ModelSpec, cases: list[_Case], decided: Decided | None) -> BackendParity:
    with ExitStack() as opened:
        engine = opened.enter_context(open_backend(backend, model, BackendOptions()))
        telling = opened.enter_context(open_backend(backend, decided.model, BackendOptions())) if decided else engine
        found = []
        for case in cases:
            got = _infer(engine, case.feeds)
            told = _infer(telling, case.feeds) if decided else got
            found.append(_on_picture(backend, case, spec, got, told, decided))
        version = engine.settings.get("engine_version")
    return BackendParity(
        backend=backend,
        engine_version=None if version is None else str(version),
        tensors={tensor.name: max(one.tensors[tensor.name] for one in found) for tensor in spec.outputs},
        detections=sum(one.detections for one in found),
        matched=sum(one.matched for one in found),
        pixels=min((one.pixels for one in found if one.pixels is not None), default=None),
        decisions=_together([one.decisions for one in found if one.decisions is not None]),
    )


def _infer(engine: Backend, feeds: Tensors) -> Tensors:
    return {name: value.copy() for name, value in engine.infer(feeds).items()}


def _on_picture(
    backend: str, case: _Case, spec: ModelSpec, got: Tensors, told: Tensors, decided: Decided | None
) -> BackendParity:
    """What the graph gives for one picture, `got`, and what its copy tells, beside the network's own outputs."""
    where = f"on the image '{case.title}' in backend '{backend}'"
    # What is compared is the graph; a refinement looks at the picture, and soft suppression decides by hairs.
    settings = spec.postprocess.model_copy(
        update={"conf_threshold": min(spec.postprocess.conf_threshold, 0.05), "refine": None, "nms": "hard"}
    )
    reference, decisions = decided.follow(case.feeds, told, where) if decided else (case.wanted, [])
    tensors = compare_tensors(reference, told, spec, settings.conf_threshold, where=where)
    pixels = _same_pixels(reference, got, spec, case.placement, where=where) if spec.task in _MAPS else None
    own = decode(reference, spec, case.placement, settings)
    beside = decode_beside(reference, got, spec, case.placement, settings)
    detections, matched = _compare_results(own, beside, spec, settings, where=where)
    return BackendParity(
        backend=backend,
        tensors=tensors,
        detections=detections,
        matched=matched,
        pixels=pixels,
        decisions=_together(decisions),
    )


def _together(found: Sequence[PoolingDecisions]) -> PoolingDecisions | None:
    if not found:
        return None
    return PoolingDecisions(
        windows=sum(one.windows for one in found),
        otherwise=sum(one.otherwise for one in found),
        shortfall=max(one.shortfall for one in found),
    )


def compare_tensors(
    wanted: Tensors, got: Tensors, spec: ModelSpec, conf_threshold: float, *, where: str
) -> dict[str, float]:
    """The largest error of every output, relative to max(1, |wanted|); ParityError names the first beyond tolerance."""
    for tensor in spec.outputs:
        if got[tensor.name].shape != wanted[tensor.name].shape:
            raise ParityError(
                f"output '{tensor.name}' {where} has the shape {list(got[tensor.name].shape)}, "
                f"the network gives {list(wanted[tensor.name].shape)}"
            )
    if "masks" in spec.head.outputs:
        wanted, got = _with_mask_probabilities(wanted, spec), _with_mask_probabilities(got, spec)
    if spec.head.kind in _CHOOSING_HEADS:
        wanted, got = _pair_rows(wanted, got, spec, conf_threshold, where=where)
    return {tensor.name: _tensor_error(wanted, got, tensor.name, spec, where=where) for tensor in spec.outputs}


def _with_mask_probabilities(outputs: Tensors, spec: ModelSpec) -> Tensors:
    """A mask's logits, which follow every hair's breadth that a box moves, as the probabilities that are pasted."""
    name = spec.head.outputs["masks"]
    return {**outputs, name: 1 / (1 + np.exp(-outputs[name].astype(np.float64)))}


def _tolerance(name: str, spec: ModelSpec) -> float:
    masks = spec.head.kind == "roi_masks" and name == spec.head.outputs["masks"]
    return _MASK_TOLERANCE if masks else TENSOR_TOLERANCE


def _tensor_error(wanted: Tensors, got: Tensors, name: str, spec: ModelSpec, *, where: str) -> float:
    errors, tolerance = _relative(wanted[name], got[name], by_box=_are_boxes(name, spec)), _tolerance(name, spec)
    if not errors.size:
        return 0.0
    worst = np.unravel_index(int(np.argmax(errors)), errors.shape)
    if np.isnan(wanted[name][worst]):
        raise ExportError(
            f"the network itself gives NaN in output '{name}' {where}: check its weights, and --scale, --mean and --std"
        )
    if not errors[worst] <= tolerance:  # NaN fails too
        raise ParityError(
            f"output '{name}' differs {where}: at {[int(i) for i in worst]} the network gives {wanted[name][worst]:.6g}, the graph "
            f"{got[name][worst]:.6g}, beyond {tolerance:g} * max(1, |value|); look for layers that are random or behave "
            "otherwise in training mode, and for values near the limits of float32"
        )
    return float(errors[worst])


def _are_boxes(name: str, spec: ModelSpec) -> bool:
    return spec.head.kind in ("rcnn", "roi_masks") and name == spec.head.outputs["boxes"]


def _relative(wanted: npt.NDArray[Any], got: npt.NDArray[Any], *, by_box: bool = False) -> npt.NDArray[np.float64]:
    """The differences by max(1, |wanted|), `by_box` that of the box's largest coordinate: its left edge is a difference of
    its centre and its side, and no more exact where it happens to lie near 0."""
    reference = wanted.astype(np.float64)
    size = np.abs(reference)
    if by_box and size.size:
        size = size.max(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        same = np.where(reference == got, 0.0, np.abs(reference - got) / np.maximum(1.0, size))
    return np.asarray(np.nan_to_num(same, nan=np.inf))


def _pair_rows(
    wanted: Tensors, got: Tensors, spec: ModelSpec, conf_threshold: float, *, where: str
) -> tuple[Tensors, Tensors]:
    """Both outputs reduced to the rows that a result is made of, those that changed places put side by side."""
    scores = _row_scores(wanted, spec)
    rows = len(scores)
    planes = spec.head.outputs.get("semantic")
    names = [name for name in wanted if wanted[name].shape[1:2] == (rows,) and name != planes]
    # A class that is not seen in a row has a box of no use, which nothing keeps in bounds.
    read = {spec.head.outputs["boxes"]: (scores >= conf_threshold)[..., None]} if spec.head.kind == "rcnn" else {}
    error = _row_errors(wanted, got, names, spec, read, np.arange(rows), np.arange(rows))
    seen = scores.reshape(rows, -1).max(axis=1) >= conf_threshold
    partner = np.arange(rows)
    free = set(np.flatnonzero(error > 1).tolist())
    lost = []
    for row in np.flatnonzero((error > 1) & seen).tolist():
        others = np.array(sorted(free))
        distance = _row_errors(wanted, got, names, spec, read, np.full(len(others), row), others)
        best = int(others[np.argmin(distance)])
        if distance.min() <= 1:
            partner[row] = best
            free.discard(best)
        else:
            lost.append(row)
    if len(lost) <= math.ceil(rows / _CHANGED_PLACES):
        seen[lost] = False
    kept = np.flatnonzero(seen)
    reference = {n: wanted[n][:, kept] if n in names else wanted[n] for n in wanted}
    chosen = {n: got[n][:, partner[kept]] if n in names else got[n] for n in wanted}
    for name, mask in read.items():
        chosen[name] = np.where(mask[kept], chosen[name], reference[name])
    return reference, chosen


def _row_scores(outputs: Tensors, spec: ModelSpec) -> npt.NDArray[Any]:
    """How sure each row is of itself, (K,) or (K, C): its scores, or a query's class probabilities without no object."""
    if "scores" in spec.head.outputs:
        return np.asarray(outputs[spec.head.outputs["scores"]][0])
    logits = outputs[spec.head.outputs["class_logits"]][0].astype(np.float64)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials[:, :-1] / exponentials.sum(axis=1, keepdims=True))


def _row_errors(
    wanted: Tensors,
    got: Tensors,
    names: list[str],
    spec: ModelSpec,
    read: Mapping[str, npt.NDArray[np.bool_]],
    rows: npt.NDArray[np.int64],
    others: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """How far each of the wanted `rows` is from the graph's row at the same place of `others`, in what is read of it, as a
    multiple of the allowed error."""
    errors = []
    for name in names:
        relative = _relative(wanted[name][0, rows], got[name][0, others], by_box=_are_boxes(name, spec))
        relative = relative / _tolerance(name, spec)
        counted = np.where(read[name][rows], relative, 0.0) if name in read else relative
        errors.append(counted.reshape(len(rows), -1).max(axis=1))
    return np.asarray(np.max(errors, axis=0))


def _same_pixels(wanted: Tensors, got: Tensors, spec: ModelSpec, placement: Placement, *, where: str) -> float:
    """The share of pixels that have the same class, or lie in the same segment; ParityError when it is too small."""
    share = share_of_pixels(wanted, got, spec, placement, enough=_PIXELS_AGREE)
    if share < _PIXELS_AGREE:
        what = "have the same class" if spec.task == "semantic" else "lie in the same segment"
        raise ParityError(f"only {share:.1%} of the pixels {what} {where}, {_PIXELS_AGREE:.0%} are wanted")
    return share


def _compare_results(
    wanted: Result, got: Result, spec: ModelSpec, settings: PostprocessSpec, *, where: str
) -> tuple[int, int]:
    """How many detections the network gives, and how many of them the graph gives too; ParityError when too few do."""
    if not isinstance(wanted, Detections) or not isinstance(got, Detections):
        return 0, 0
    matches = match_detections(wanted, got, settings)
    allowed = math.ceil(matches.total / _CHANGED_PLACES) if spec.head.kind in _CHOOSING_HEADS else 0
    if len(matches.lost) + len(matches.extra) > 2 * allowed:
        raise ParityError(f"{matches.describe(wanted, got, spec.labels)} {where}")
    return matches.total, matches.total - len(matches.lost)
