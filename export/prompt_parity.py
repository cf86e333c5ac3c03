"""Proof that the graphs of a promptable network do together what the network did: tensor by tensor and mask by mask."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgewright.export.parity import compare_tensors
from edgewright.export.result_parity import Tensors
from edgewright.runtime.backends import BackendOptions, open_backend
from edgewright.runtime.bundle import BackendParity, Parity
from edgewright.runtime.errors import BackendError, MissingDependencyError, ParityError
from edgewright.runtime.geometry import Placement
from edgewright.runtime.heads import prompted
from edgewright.runtime.matching import MASK_IOU, mask_iou
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.preprocess import preprocess
from edgewright.runtime.prompter import Prompter, decoder_graph
from edgewright.runtime.prompts import EMPTY, Prompt, fill_slots, parse_prompts
from edgewright.runtime.results import Image
from edgewright.runtime.spec import ModelSpec

_log = logging.getLogger(__name__)

# One point, a box, clicks that correct each other, and every slot taken.
PROMPTS = (
    "point:40%,60%",
    "box:20%,25%,70%,80%",
    "box:0%,0%,100%,100%+point:50%,50%+background:10%,90%",
    "+".join(f"{'background' if n % 3 else 'point'}:{5 + 8 * n}%,{95 - 8 * n}%" for n in range(12)),
)

# An image tensor, then points [1, P, 2] and their labels [1, P], become the outputs of all graphs by name.
Reference = Callable[[Any], Callable[[Any, Any], Tensors]]


@dataclass(frozen=True, eq=False)
class _Case:
    where: str
    image: Image
    prompt: Prompt
    placement: Placement
    wanted: Tensors


def prove_prompt_parity(
    reference: Reference,
    models: Mapping[str, Path],
    spec: ModelSpec,
    *,
    images: Mapping[str, Image],
    prompts: Sequence[str] = PROMPTS,
    name: str = "torch",
    backends: Sequence[str] = ("ort", "ov"),
) -> Parity:
    """The agreement of the ONNX files `models` (by graph, the first sees the image) with `reference` on several prompts.

    The reference gets the prompts alone, the graphs get them among empty slots. Every mask counts as a detection, the
    alternatives included. A backend that is not installed or cannot load a graph is recorded as such, and logged; ParityError
    names the first tensor or mask that differs.
    """
    cases = [case for title, image in images.items() for case in _cases(title, image, prompts, reference, spec)]
    results = tuple(_compare_if_possible(backend, models, spec, cases) for backend in backends)
    return Parity(reference=name, images=tuple(images), backends=results)


def _cases(title: str, image: Image, texts: Sequence[str], reference: Reference, spec: ModelSpec) -> list[_Case]:
    tensor, placement = preprocess(image, spec.preprocess)
    answer = reference(tensor)
    slots = int({tensor.name: tensor.shape for tensor in decoder_graph(spec).inputs}["points"][1])
    cases = []
    for text, prompt in zip(texts, parse_prompts(texts, placement.source_hw), strict=True):
        points, labels = fill_slots(prompt, placement, slots)
        given = labels[0] != EMPTY
        where = f"on the image '{title}' with the prompt {text}"
        cases.append(_Case(where, image, prompt, placement, answer(points[:, given], labels[:, given])))
    return cases


def _compare_if_possible(
    backend: str, models: Mapping[str, Path], spec: ModelSpec, cases: list[_Case]
) -> BackendParity:
    try:
        return _compare(backend, models, spec, cases)
    except (MissingDependencyError, BackendError) as err:
        if backend == "ort":
            raise
        _log.warning("parity with backend '%s' is not proven: %s", backend, err)
        return BackendParity(backend=backend, problem=str(err))


def _compare(backend: str, models: Mapping[str, Path], spec: ModelSpec, cases: list[_Case]) -> BackendParity:
    first, decoder = models.values()
    all_outputs = (*spec.outputs, *decoder_graph(spec).outputs)
    # Without a role, mask logits are compared as they are, which is stricter than as probabilities.
    whole = spec.model_copy(update={"outputs": all_outputs, "head": spec.head.model_copy(update={"outputs": {}})})
    errors: dict[str, float] = {}
    masks, image = 0, None
    options = BackendOptions()
    with (
        Predictor(spec, open_backend(backend, first, options), spec.postprocess) as encoder,
        open_backend(backend, decoder, options) as engine,
    ):
        prompter = Prompter(encoder, engine)
        for case in cases:
            if case.image is not image:
                prompter.set_image(case.image)
                image = case.image
            where = f"{case.where} in backend '{backend}'"
            decoded = prompter.decode([case.prompt])
            got = {**prompter.embedding, **{spec.head.outputs[role]: value for role, value in decoded.items()}}
            for name, error in compare_tensors(case.wanted, got, whole, 0.0, where=where).items():
                errors[name] = max(errors.get(name, 0.0), error)
            masks += _compare_masks(case, got, spec, where)
        version = encoder.backend.settings.get("engine_version")
    return BackendParity(
        backend=backend,
        engine_version=None if version is None else str(version),
        tensors=errors,
        detections=masks,
        matched=masks,
    )


def _compare_masks(case: _Case, got: Tensors, spec: ModelSpec, where: str) -> int:
    """How many masks agree in source pixels: all of them; ParityError otherwise."""
    both = []
    for outputs in (case.wanted, got):
        by_role = {role: np.asarray(outputs[name]) for role, name in spec.head.outputs.items()}
        parts = (
            read(by_role, spec, case.placement, spec.postprocess) for read in (prompted.decode, prompted.alternatives)
        )
        both.append([mask for part in parts for mask in part.masks or ()])
    overlaps = [mask_iou(wanted, found) for wanted, found in zip(*both, strict=True)]
    if overlaps and not min(overlaps) > MASK_IOU:
        raise ParityError(
            f"mask {int(np.argmin(overlaps))} differs {where}: its overlap (IoU) with the network's is {min(overlaps):.4f}, "
            f"above {MASK_IOU} is wanted"
        )
    return len(overlaps)
