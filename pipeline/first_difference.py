"""The first stage at which two networks differ, from the picture to the results, and what it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.agreement import class_pixels, class_table, renumbered
from edgewright.pipeline.comparison import STAGES, FirstDifference, Stage, StageName
from edgewright.pipeline.input_difference import input_settings, inputs_agree, name_input_difference
from edgewright.pipeline.result_difference import (
    decoded_agree,
    name_decode_difference,
    name_suppression_difference,
    suppression_settings,
)
from edgewright.pipeline.tensor_difference import Named, error_of, name_tensor_difference
from edgewright.runtime.errors import BackendError
from edgewright.runtime.geometry import Placement
from edgewright.runtime.matching import match_detections
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.results import Detections, Image, Result
from edgewright.runtime.spec import ModelSpec

Array = npt.NDArray[Any]

# As large as what a network may lose on its way into ONNX: of max(1, |value|).
TENSOR_TOLERANCE = 1e-3
# Pixels at the border of two classes may fall to either side.
_PIXELS_AGREE = 0.9995


@dataclass(frozen=True, eq=False)
class Walked:
    """What every stage of one network gave for one picture; `outputs` are by role of the head."""

    image: Image
    tensor: Array
    placement: Placement
    outputs: dict[str, Array]
    result: Result


def first_difference(a: Predictor, b: Predictor, images: Sequence[Image]) -> FirstDifference:
    """Where A and B begin to differ on the images.

    A stage that differs but is made up for later, as normalisation inside the graph makes up for another input tensor, is not
    it: it is the first after the last that agrees. Where the input tensors differ, B is also run on A's, which tells whether they
    are the cause.
    """
    if a.spec.graphs or b.spec.graphs:
        agree = all(_results_agree(a(image), b(image), a, b) for image in images)
        return _by_results_alone(a.spec, b.spec, "one of them consists of several graphs", agree=agree)
    walks = [(_walk(a, image), _walk(b, image)) for image in images]
    agree = all(_results_agree(one.result, other.result, a, b) for one, other in walks)
    reason = _other_outputs(a.spec, b.spec, walks)
    if reason is not None:
        return _by_results_alone(a.spec, b.spec, f"A and B are different networks: {reason}", agree=agree)
    stages = _stages(a.spec, b.spec, walks)
    if agree:
        return _nothing(a, b, stages)
    name = _first(stages)
    if name == "pre-processing" and not _explains(a, b, walks):
        name = "raw tensors"
    named = _named(name, a, b, walks)
    if name == "raw tensors":
        named = named._replace(sentence=f"{named.sentence}{_engines(a, b)}")
    sentence = f"{name} {'differ' if name.endswith('s') else 'differs'} first: {named.sentence}{_further(name, a, b)}"
    return FirstDifference(stage=name, kind=named.kind, sentence=sentence, advice=named.advice, stages=stages)


def _walk(predictor: Predictor, image: Image) -> Walked:
    feeds, placement = predictor.prepare(image)
    feeds = {name: value.copy() for name, value in feeds.items()}
    outputs = {name: value.copy() for name, value in predictor.infer(feeds).items()}
    roles = {role: outputs[name] for role, name in predictor.spec.head.outputs.items() if name in outputs}
    tensor = feeds[predictor.spec.inputs[0].name]
    return Walked(image, tensor, placement, roles, predictor.finish(outputs, placement))


def _other_outputs(a: ModelSpec, b: ModelSpec, walks: Sequence[tuple[Walked, Walked]]) -> str | None:
    """Why the raw tensors cannot be compared, None when they can."""
    one, other = walks[0]
    if a.head.kind != b.head.kind or one.outputs.keys() != other.outputs.keys():
        return f"A has a {a.head.kind} head ({', '.join(one.outputs)}) and B a {b.head.kind} head ({', '.join(other.outputs)})"
    for role in one.outputs:
        shapes = [list(side.outputs[role].shape) for side in (one, other)]
        if shapes[0] != shapes[1]:
            return f"their output '{role}' is {shapes[0]} in A and {shapes[1]} in B"
    return None


def _by_results_alone(a: ModelSpec, b: ModelSpec, reason: str, *, agree: bool) -> FirstDifference:
    fields = input_settings(a.preprocess, b.preprocess)
    inputs = f" Their pre-processing differs in {', '.join(fields)}." if fields else ""
    what = "the results agree all the same" if agree else "only their results can be compared"
    return FirstDifference(
        stage=None,
        kind="none" if agree else "different networks",
        sentence=f"{reason}; {what}.{inputs}",
        advice="compare two exports of one network to find a mistake in one of them",
    )


def _nothing(a: Predictor, b: Predictor, stages: tuple[Stage, ...]) -> FirstDifference:
    differing = [stage for stage in stages if not stage.agrees]
    told = "; ".join(f"{stage.name}: {stage.measured}" for stage in differing)
    return FirstDifference(
        stage=None,
        kind="none",
        sentence=f"nothing differs in the results{f', though on the way there ({told})' if differing else ''}",
        advice="nothing is to be done",
        stages=stages,
    )


def _stages(a: ModelSpec, b: ModelSpec, walks: Sequence[tuple[Walked, Walked]]) -> tuple[Stage, ...]:
    """All stages but the last by what they give; the last one by its settings, since its results differ with any before."""
    inputs = [inputs_agree((one.tensor, one.placement), (other.tensor, other.placement), a, b) for one, other in walks]
    errors = {
        role: max(error_of(one.outputs[role], other.outputs[role]) for one, other in walks)
        for role in walks[0][0].outputs
    }
    raw = all(error <= TENSOR_TOLERANCE for error in errors.values())
    decoded = [decoded_agree(_decodable(one), _decodable(other), a, b) for one, other in walks]
    return (
        Stage(
            name="pre-processing",
            agrees=all(agrees for agrees, _ in inputs),
            measured=max(inputs, key=lambda item: not item[0])[1],
        ),
        Stage(
            name="raw tensors",
            agrees=raw,
            measured=", ".join(f"{role} by up to {error:.2g}" for role, error in errors.items()),
        ),
        Stage(
            name="decode",
            agrees=all(agrees for agrees, _ in decoded),
            measured=max(decoded, key=lambda item: not item[0])[1],
        ),
    )


def _first(stages: Sequence[Stage]) -> StageName:
    """The stage after the last that agrees."""
    last = max((place for place, stage in enumerate(stages) if stage.agrees), default=-1)
    return STAGES[last + 1]


def _explains(a: Predictor, b: Predictor, walks: Sequence[tuple[Walked, Walked]]) -> bool:
    """Whether B on A's input tensor comes much closer to A than on its own."""
    own = swapped = 0.0
    for one, other in walks:
        try:
            outputs = b.infer({**b.prepare(one.image)[0], b.spec.inputs[0].name: one.tensor})
        except BackendError:
            return True  # A tensor of another shape, layout or type is a difference of pre-processing.
        for role, name in b.spec.head.outputs.items():
            own += _distance(one.outputs[role], other.outputs[role])
            swapped += _distance(one.outputs[role], np.asarray(outputs[name]))
    return swapped < own / 2


def _engines(a: Predictor, b: Predictor) -> str:
    """What runs the two, where that may be why their tensors differ."""
    ways = [f"{side.settings['precision']} on {side.settings['backend']}" for side in (a, b)]
    return f" (A runs in {ways[0]}, B in {ways[1]})" if ways[0] != ways[1] else ""


def _further(name: StageName, a: Predictor, b: Predictor) -> str:
    """What would differ even if this difference were mended."""
    settings = suppression_settings(a.postprocess, b.postprocess) if name != "suppression" else ()
    return f"; later on they differ in {', '.join(settings)} too" if settings else ""


def _distance(a: Array, b: Array) -> float:
    """The mean difference in units of the mean size, so that boxes in pixels do not outweigh scores."""
    ours, theirs = a.astype(np.float64), b.astype(np.float64)
    return float(np.abs(ours - theirs).mean() / max(float(np.abs(ours).mean()), 1e-12))


def _named(name: StageName, a: Predictor, b: Predictor, walks: Sequence[tuple[Walked, Walked]]) -> Named:
    if name == "pre-processing":
        one, other = walks[0]
        tensors = (one.tensor, one.placement), (other.tensor, other.placement)
        return name_input_difference(one.image, *tensors, a.spec, b.spec)
    if name == "raw tensors":
        pairs = {
            role: [(one.outputs[role], other.outputs[role]) for one, other in walks] for role in walks[0][0].outputs
        }
        return name_tensor_difference(pairs, a.spec, b.spec, TENSOR_TOLERANCE)
    decodables = [(_decodable(one), _decodable(other)) for one, other in walks]
    if name == "decode":
        return name_decode_difference(decodables, a.spec, b.spec)
    return name_suppression_difference([one for one, _ in decodables], a, b)


def _decodable(walked: Walked) -> tuple[dict[str, Array], Placement]:
    return walked.outputs, walked.placement


def _results_agree(ours: Result, other: Result, a: Predictor, b: Predictor) -> bool:
    _, numbers = class_table(a.spec.labels, b.spec.labels)
    theirs = renumbered(other, numbers)
    if isinstance(ours, Detections) and isinstance(theirs, Detections):
        matches = match_detections(ours, theirs, a.postprocess)
        return not matches.lost and not matches.extra
    if isinstance(ours, Detections) or isinstance(theirs, Detections):
        return False
    return float(np.mean(class_pixels(ours) == class_pixels(theirs))) >= _PIXELS_AGREE
