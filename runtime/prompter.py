"""A promptable network, ready to run: the image is encoded once, and every prompt decoded."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.runtime.backends import Backend, BackendOptions, Tensors, open_backend
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import BackendError, BundleError, UsageError
from edgewright.runtime.geometry import Placement
from edgewright.runtime.heads import prompted
from edgewright.runtime.lanes import Lane, serial_lanes
from edgewright.runtime.predictor import Predictor, open_image_graph
from edgewright.runtime.prompts import Prompt, check_prompt, fill_slots, make_prompts, parse_prompts
from edgewright.runtime.results import Boxes, Detections, Image, Result
from edgewright.runtime.spec import GraphSpec, ModelSpec, PostprocessSpec

DECODER = "mask_decoder"
MIDDLE = ("point:50%,50%",)
POINTS, LABELS = "points", "point_labels"


def open_prompter(
    bundle: Bundle,
    *,
    backend: str = "ort",
    precision: str = "fp32",
    threads: int | None = None,
    postprocess: PostprocessSpec | None = None,
    cache_dir: Path | None = None,
) -> "Prompter":
    """The promptable network of `bundle` on `backend`; `postprocess` None means the bundle's own thresholds."""
    graph = decoder_graph(bundle.spec)
    file = bundle.model_file(backend=backend, precision=precision, graph=graph.name)
    options = BackendOptions(precision=precision, threads=threads, cache_dir=cache_dir)
    with ExitStack() as opened:
        encoder = opened.enter_context(
            open_image_graph(
                bundle,
                backend=backend,
                precision=precision,
                threads=threads,
                postprocess=postprocess,
                cache_dir=cache_dir,
            )
        )
        decoder = opened.enter_context(open_backend(backend, bundle.file(file.name), options))
        prompter = Prompter(encoder, decoder)
        opened.pop_all()
    return prompter


def decoder_graph(spec: ModelSpec) -> GraphSpec:
    """The graph that takes prompts; UsageError for a network that takes none."""
    if spec.task != "prompted":
        raise UsageError(f"{spec.name} is a {spec.task} network, which takes no prompts; leave them out")
    for graph in spec.graphs or ():
        if graph.name == DECODER:
            return graph
    raise BundleError(f"the manifest of {spec.name} names no graph '{DECODER}'; export the bundle again")


class Prompter:
    """Segments what points and boxes mean. Not for several threads at once: it keeps the embedding of one image.

    `embedding` is what the encoder made of it. `seconds` are those of the last image in "encode", and of the last prompts,
    all together, in "decode".
    """

    def __init__(self, encoder: Predictor, decoder: Backend) -> None:
        self.encoder, self.decoder = encoder, decoder
        self.spec, self.postprocess, self.settings = encoder.spec, encoder.postprocess, encoder.settings
        self.slots = _checked_slots(decoder_graph(encoder.spec), decoder)
        self.seconds: dict[str, float] = {}
        self.embedding: dict[str, npt.NDArray[Any]] = {}
        self._placement: Placement | None = None

    def set_image(self, image: Image) -> None:
        """Encode a BGR uint8 image (H, W, 3), to which all prompts refer until the next one."""
        self.encode(*self.encoder.prepare(image))

    def segment(
        self, *, points_xy: Any = None, point_labels: Any = None, boxes_xyxy: Any = None, multimask: bool = False
    ) -> Detections:
        """The mask of every object that is pointed at, in pixels of the image; a score is the quality that the network
        expects of its mask, the overlap (IoU) with the object.

        `points_xy` (N, P, 2), or (P, 2) for one object; `point_labels` 1 on the object (default), 0 beside it, -1 no point;
        `boxes_xyxy` (N, 4), or (4,) for one object. `multimask` gives the network's alternatives instead, three in SAM 2,
        object by object: a point on a sleeve may mean the sleeve, the coat or the person. A mask without a pixel has the box
        0, 0, 0, 0. UsageError for prompts outside the image, without an object or with more points than there are slots.
        """
        return self.answer(make_prompts(points_xy, point_labels, boxes_xyxy), multimask=multimask)

    def answer(self, prompts: Sequence[Prompt], *, multimask: bool = False) -> Detections:
        """As `segment`, for prompts that are made already."""
        read = prompted.alternatives if multimask else prompted.decode
        return read(self.decode(prompts), self.spec, self._placed(), self.postprocess)

    def answers(self, prompt: Prompt) -> tuple[Detections, Detections]:
        """The answer to one prompt and its alternatives, decoded once."""
        decoded, placement = self.decode([prompt]), self._placed()
        answer = prompted.decode(decoded, self.spec, placement, self.postprocess)
        return answer, prompted.alternatives(decoded, self.spec, placement, self.postprocess)

    def encode(self, feeds: Tensors, placement: Placement) -> None:
        """Encode the image that `encoder.prepare` made `feeds` of."""
        start = time.perf_counter()
        outputs = self.encoder.infer(feeds)
        # Backends may overwrite their outputs, and the image may be asked about for long.
        self.embedding = {name: value.copy() for name, value in outputs.items()}
        self._placement = placement
        self.seconds["encode"] = time.perf_counter() - start

    def decode(self, prompts: Sequence[Prompt]) -> dict[str, npt.NDArray[Any]]:
        """Mask logits [N, M, h, w] and qualities [N, M] of N prompts, by role; UsageError for a prompt that says nothing."""
        placement = self._placed()
        for prompt in prompts:
            check_prompt(prompt, placement.source_hw, self.slots)
        start = time.perf_counter()
        answers = [self._decode(prompt, placement) for prompt in prompts]
        decoded = {role: np.concatenate([answer[role] for answer in answers]) for role in answers[0]}
        self.seconds["decode"] = time.perf_counter() - start
        return decoded

    def close(self) -> None:
        """Free both engines."""
        self.decoder.close()
        self.encoder.close()

    def __enter__(self) -> "Prompter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _decode(self, prompt: Prompt, placement: Placement) -> dict[str, npt.NDArray[Any]]:
        points, labels = fill_slots(prompt, placement, self.slots)
        outputs = self.decoder.infer({**self._taken(), POINTS: points, LABELS: labels})
        return {role: outputs[name].copy() for role, name in self.spec.head.outputs.items()}

    def _taken(self) -> Mapping[str, npt.NDArray[Any]]:
        wanted = {tensor.name for tensor in self.decoder.inputs}
        return {name: value for name, value in self.embedding.items() if name in wanted}

    def _placed(self) -> Placement:
        if self._placement is None:
            raise UsageError("there is no image to segment yet; call set_image first")
        return self._placement


class PromptedPredictor(Predictor):
    """A prompter with the same prompts for every image, in the steps of a predictor; masks without a pixel are left out.

    `texts` are prompts as in `parse_prompts`; the track id of a result is the number of its prompt, from 1. `infer_parts` are
    the seconds of the last `infer` by stage.
    """

    def __init__(self, prompter: Prompter, texts: Sequence[str]) -> None:
        if not texts:
            raise UsageError(f"{prompter.spec.name} finds what it is pointed at; give a prompt such as point:320,240")
        parse_prompts(texts, (1, 1))
        settings = {**prompter.settings, "prompts": " ".join(texts)}
        super().__init__(prompter.spec, prompter.encoder.backend, prompter.postprocess, settings)
        self.prompter, self._texts = prompter, tuple(texts)
        self.infer_parts = prompter.seconds
        self._placement: Placement | None = None
        self._every = self.postprocess.model_copy(update={"conf_threshold": 0.0})

    def prepare(self, image: Image, regions: Boxes | None = None) -> tuple[Tensors, Placement]:
        feeds, self._placement = super().prepare(image, regions)
        return feeds, self._placement

    def lanes(self, count: int) -> tuple[Lane, ...]:
        """Prompts refer to the image that was prepared last, so there is one after the other."""
        return serial_lanes(self, count)

    def infer(self, feeds: Tensors) -> dict[str, npt.NDArray[Any]]:
        """The decoder's outputs by name for the feeds of the last `prepare`, one row for every prompt."""
        if self._placement is None:
            raise UsageError("there is no image to segment yet; call prepare first")
        self.prompter.encode(feeds, self._placement)
        decoded = self.prompter.decode(parse_prompts(self._texts, self._placement.source_hw))
        return {self.spec.head.outputs[role]: value for role, value in decoded.items()}

    def finish(self, outputs: Tensors, placement: Placement) -> Result:
        by_role = {role: outputs[name] for role, name in self.spec.head.outputs.items()}
        every = prompted.decode(by_role, self.spec, placement, self._every)
        drawn = np.array([mask.pixels.size > 0 for mask in every.masks or ()], bool)
        kept = np.flatnonzero(drawn & (every.scores >= self.postprocess.conf_threshold))
        return replace(every[kept], track_ids=kept + 1)

    def close(self) -> None:
        self.prompter.close()


def _checked_slots(graph: GraphSpec, decoder: Backend) -> int:
    """How many slots the decoder has for points; BackendError when the engine lacks an input or output of the graph."""
    for what, wanted, got in (("input", graph.inputs, decoder.inputs), ("output", graph.outputs, decoder.outputs)):
        missing = sorted({tensor.name for tensor in wanted} - {tensor.name for tensor in got})
        if missing:
            raise BackendError(
                f"the decoder has no {what} {missing}, it has {sorted(tensor.name for tensor in got)}; "
                "the model file does not belong to this manifest, export the bundle again"
            )
    shapes = {tensor.name: tensor.shape for tensor in graph.inputs}
    if POINTS not in shapes or LABELS not in shapes:
        raise BundleError(f"graph '{graph.name}' has no inputs '{POINTS}' and '{LABELS}'; export the bundle again")
    return int(shapes[POINTS][1])
