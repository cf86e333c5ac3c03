"""The hot path: pre-process → backend → head; before them, regions for a network that takes them from outside."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy.typing as npt

from edgewright.runtime.backends import Backend, BackendOptions, Setting, Tensors, open_backend
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import BackendError, UsageError
from edgewright.runtime.geometry import PlacedImage, Placement
from edgewright.runtime.heads import check_suppression, load_head
from edgewright.runtime.lanes import Lane, by_image, engine_lanes, row_of
from edgewright.runtime.preprocess import BatchPreprocessor, Preprocessor, Tensor
from edgewright.runtime.proposals import Method, method_name, open_method, region_tensor
from edgewright.runtime.refine import check_refinement
from edgewright.runtime.results import Boxes, Image, Result
from edgewright.runtime.slicing import SlicedBackend, SlicedPreprocessor, Slicing, check_slicing, parse_slicing, sliced
from edgewright.runtime.spec import BATCH, ModelSpec, PostprocessSpec
from edgewright.runtime.tiling import TiledBackend, TiledPreprocessor, tile_grid, whole_spec

_Preprocess = Callable[[Sequence[Image]], tuple[Tensor, Sequence[Placement]]]


def open_predictor(
    bundle: Bundle,
    *,
    backend: str = "ort",
    precision: str = "fp32",
    threads: int | None = None,
    postprocess: PostprocessSpec | None = None,
    propose: str | None = None,
    prompts: Sequence[str] | None = None,
    tiles: str | None = None,
    cache_dir: Path | None = None,
    streams: int | None = 1,
    batch: int = 1,
) -> "Predictor":
    """A predictor for `bundle` on `backend`; None means the bundle's own thresholds and its own method of proposals.

    A promptable network is asked the same `prompts` (`runtime.prompts.parse_prompts`) of every image, None: what lies in
    its middle. `runtime.prompter.open_prompter` asks it anything. A network that finds objects looks for them in `tiles` of the
    image (`runtime.slicing.parse_slicing`).

    With several `streams` (None: as many as pay) the predictor's `lanes` work side by side, and each of them takes longer.
    With a `batch` so many images go through the engine at once, which a bundle with an open batch allows (`edgewright batch`).
    """
    if bundle.spec.task != "prompted":
        if prompts is not None:
            raise UsageError(
                f"{bundle.spec.name} is a {bundle.spec.task} network, which takes no prompts; leave them out"
            )
        return open_image_graph(
            bundle,
            backend=backend,
            precision=precision,
            threads=threads,
            postprocess=postprocess,
            propose=propose,
            tiles=tiles,
            cache_dir=cache_dir,
            streams=streams,
            batch=batch,
        )
    _check_batch(bundle.spec, batch)
    if (streams or 1) > 1:
        raise UsageError(f"{bundle.spec.name} is asked in two steps, one frame at a time; leave --streams out")
    if tiles is not None:
        check_slicing(bundle.spec)
    from edgewright.runtime.prompter import MIDDLE, PromptedPredictor, open_prompter  # which is built on this module

    _method(bundle.spec, propose)
    prompter = open_prompter(
        bundle, backend=backend, precision=precision, threads=threads, postprocess=postprocess, cache_dir=cache_dir
    )
    try:
        return PromptedPredictor(prompter, MIDDLE if prompts is None else prompts)
    except BaseException:
        prompter.close()
        raise


def open_image_graph(
    bundle: Bundle,
    *,
    backend: str = "ort",
    precision: str = "fp32",
    threads: int | None = None,
    postprocess: PostprocessSpec | None = None,
    propose: str | None = None,
    tiles: str | None = None,
    cache_dir: Path | None = None,
    streams: int | None = 1,
    batch: int = 1,
) -> "Predictor":
    """As `open_predictor`; of a network of several graphs the one that sees the image, alone."""
    method = _method(bundle.spec, propose)
    slicing = None if tiles is None else parse_slicing(tiles)
    entry = bundle.model_file(backend=backend, precision=precision)
    in_parts = slicing is not None or bundle.spec.tiling is not None
    if in_parts and (streams or 1) > 1:
        raise UsageError(f"the tiles of a picture go through {bundle.spec.name} one by one; leave --streams out")
    is_open = _check_batch(bundle.spec, batch)
    if in_parts and batch > 1:
        raise UsageError(f"the tiles of a picture go through {bundle.spec.name} one by one; leave --batch out")
    options = BackendOptions(
        precision=precision,
        threads=threads,
        cache_dir=cache_dir,
        streams=1 if in_parts else streams,
        batch=batch if is_open else None,
    )
    engine = open_backend(backend, bundle.file(entry.name), options)
    try:
        if (streams or 1) > 1 and not hasattr(engine, "streams"):
            raise UsageError(f"backend {backend} has one inference at a time; leave --streams out")
        return Predictor(
            bundle.spec,
            engine,
            postprocess or bundle.spec.postprocess,
            {"backend": backend, "precision": precision, **_proposal_settings(bundle.spec, propose, method)},
            method=method,
            slicing=slicing,
            batch=batch,
        )
    except BaseException:
        engine.close()
        raise


class Predictor:
    """One network, ready to run on `batch` images at a time. Not for several threads at once: it reuses its input tensor."""

    # Seconds of the last `infer` by its parts, where it has several.
    infer_parts: Mapping[str, float] | None = None

    def __init__(
        self,
        spec: ModelSpec,
        backend: Backend,
        postprocess: PostprocessSpec,
        settings: Mapping[str, Setting] | None = None,
        *,
        method: Method | None = None,
        slicing: Slicing | None = None,
        batch: int = 1,
    ) -> None:
        self.spec = spec
        self.batch = batch
        self._tiles = None if spec.tiling is None else tile_grid(spec, spec.tiling)
        self._slicing = slicing
        self.backend = self._engine(backend)
        self.postprocess = postprocess
        self.settings: dict[str, Setting] = {**(settings or {}), **self.backend.settings, **postprocess.model_dump()}
        if batch > 1:
            self.settings["batch"] = batch
        self._preprocess = self._preprocessor()
        self._decode = load_head(spec) if slicing is None else sliced(load_head(spec))
        self._input = spec.inputs[0].name
        self._method = method
        self._check_backend()
        check_refinement(spec, postprocess.refine)
        if postprocess.nms != "hard":  # the default, of networks too that have no use for any
            check_suppression(spec, postprocess.nms)

    def __call__(self, image: Image, names: Sequence[str] = ()) -> Result:
        """What the network finds on a BGR uint8 image (H, W, 3), in pixels of that image.

        `names` are what a file of stored regions may know the image by.
        """
        feeds, placement = self.prepare(image, self.propose(image, names))
        return self.finish(self.infer(feeds), placement)

    def several(self, images: Sequence[Image]) -> list[Result]:
        """What the network finds on each image, `batch` of them at a time."""
        results = []
        for first in range(0, len(images), self.batch):
            feeds, placements = self.prepare_several(images[first : first + self.batch])
            results += self.finish_several(self.infer(feeds), placements)
        return results

    def prepare_several(self, images: Sequence[Image]) -> tuple[Tensors, Sequence[Placement]]:
        """As `prepare`, for `batch` images at most; the rows that fewer leave are computed and looked at by nobody."""
        return self._prepare_several(self._preprocess, images, [self.propose(image) for image in images])

    def finish_several(self, outputs: Tensors, placements: Sequence[Placement]) -> list[Result]:
        """As `finish`, for each of the images that were prepared."""
        return [self.finish(rows, placement) for rows, placement in by_image(outputs, placements)]

    def propose(self, image: Image, names: Sequence[str] = ()) -> Boxes | None:
        """Regions (N, 4) of the image in its pixels, best first; None when the network takes none from outside."""
        return None if self.spec.proposals is None else self._regions(image, names)

    def prepare(self, image: Image, regions: Boxes | None = None) -> tuple[Tensors, Placement]:
        """The input tensors, valid until the next call, and where the image lies in the first.

        A network that takes regions gets these; None: those that `propose` finds.
        """
        feeds, (placement,) = self._prepare_several(self._preprocess, [image], [regions])
        return feeds, placement

    @property
    def streams(self) -> int:
        """How many frames the engine works on at a time, when they come by `lanes`."""
        return int(getattr(self.backend, "streams", 1))

    def lanes(self, count: int) -> tuple[Lane, ...]:
        """So many ways for frames through the network, for threads that work on different frames at once."""
        preprocesses = [self._preprocessor() for _ in range(count)]
        return engine_lanes(self.backend, [partial(self._prepare_several, preprocess) for preprocess in preprocesses])

    def _prepare_several(
        self, preprocess: _Preprocess, images: Sequence[Image], regions: Sequence[Boxes | None]
    ) -> tuple[Tensors, Sequence[Placement]]:
        tensor, placements = preprocess(images)
        if self.postprocess.refine is not None:
            placements = [
                PlacedImage(placement.source_hw, placement.placed_hw, placement.offset_xy, image)
                for placement, image in zip(placements, images, strict=True)
            ]
        if self.spec.proposals is None:
            return {self._input: tensor}, placements
        # Such a network takes one image at a time.
        boxes = self._regions(images[0], ()) if regions[0] is None else regions[0]
        wanted = self.spec.proposals
        return {self._input: tensor, wanted.input: region_tensor(boxes, placements[0], wanted.count)}, placements

    def infer(self, feeds: Tensors) -> dict[str, npt.NDArray[Any]]:
        """The raw outputs by name, valid until the next call."""
        return self.backend.infer(feeds)

    def finish(self, outputs: Tensors, placement: Placement) -> Result:
        """The result of the raw outputs; keeps no reference to them."""
        rows = outputs if self.batch == 1 else row_of(outputs, 0)
        by_role = {role: rows[name] for role, name in self.spec.head.outputs.items()}
        spec = self.spec if self._tiles is None else whole_spec(self.spec, self._tiles, placement)
        return self._decode(by_role, spec, placement, self.postprocess)

    def close(self) -> None:
        """Free the engine."""
        self.backend.close()

    def __enter__(self) -> "Predictor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _engine(self, backend: Backend) -> Backend:
        if self._slicing is not None:
            check_slicing(self.spec)
            return SlicedBackend(backend, self._slicing)
        return backend if self._tiles is None else TiledBackend(backend, self._tiles, self.spec.preprocess.layout)

    def _preprocessor(self) -> _Preprocess:
        if self._slicing is not None:
            return partial(_alone, SlicedPreprocessor(self.spec.preprocess, self._slicing))
        if self._tiles is not None:
            return partial(_alone, TiledPreprocessor(self.spec.preprocess, self._tiles))
        if self.batch > 1:
            return BatchPreprocessor(self.spec.preprocess, self.batch)
        return partial(_alone, Preprocessor(self.spec.preprocess))

    def _regions(self, image: Image, names: Sequence[str]) -> Boxes:
        if self._method is None:
            raise UsageError(f"{self.spec.name} takes regions from outside; give them, or a method that proposes some")
        return self._method(image, names)

    def _check_backend(self) -> None:
        for what, wanted, got in (
            ("input", self.spec.inputs, self.backend.inputs),
            ("output", self.spec.outputs, self.backend.outputs),
        ):
            missing = sorted({tensor.name for tensor in wanted} - {tensor.name for tensor in got})
            if missing:
                raise BackendError(
                    f"the engine has no {what} {missing}, it has {sorted(tensor.name for tensor in got)}; "
                    "the model file does not belong to this manifest, export the bundle again"
                )


def _alone(
    preprocess: Callable[[Image], tuple[Tensor, Placement]], images: Sequence[Image]
) -> tuple[Tensor, Sequence[Placement]]:
    (image,) = images
    tensor, placement = preprocess(image)
    return tensor, (placement,)


def _check_batch(spec: ModelSpec, batch: int) -> bool:
    """Whether the network's batch is open; UsageError when it is not and more than one image is to go through at once."""
    is_open = spec.inputs[0].shape[0] == BATCH
    if batch < 1 or (batch > 1 and not is_open):
        raise UsageError(
            f"{spec.name} takes one image at a time, not a batch of {batch}; `edgewright batch BUNDLE -o BUNDLE2` opens the batch of "
            "networks that allow it, or leave --batch out"
        )
    return is_open


def _method(spec: ModelSpec, uri: str | None) -> Method | None:
    if spec.proposals is not None:
        return open_method(uri or spec.proposals.method)
    if uri is not None:
        raise UsageError(f"{spec.name} takes no regions from outside; leave --propose out")
    return None


def _proposal_settings(spec: ModelSpec, uri: str | None, method: Method | None) -> dict[str, Setting]:
    """The method by its name alone, its options, and how many regions there are at most."""
    if spec.proposals is None or method is None:
        return {}
    name = method_name(uri or spec.proposals.method)
    options = {f"proposals.{key}": value for key, value in method.settings.items()}
    return {"proposals": name, "proposals.count": spec.proposals.count, **options}
