"""Write a bundle: the model, its reference run on one image, and the manifest, all or nothing."""

import logging
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx

from edgewright.export.trial_regions import window_regions
from edgewright.export.unsigned import is_quantized, with_unsigned_activations
from edgewright.runtime.atomic import atomic_folder
from edgewright.runtime.backends import BackendOptions, Tensors, open_backend
from edgewright.runtime.bundle import (
    Bundle,
    BundleFile,
    Complexity,
    Golden,
    Manifest,
    Parity,
    Precision,
    Provenance,
    describe_file,
    load_bundle,
    seal,
)
from edgewright.runtime.errors import BackendError, ExportError
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.results import Image
from edgewright.runtime.spec import BoxFormat, GraphSpec, ModelSpec

_log = logging.getLogger(__name__)

MODEL, IMAGE_ENCODER = "model.onnx", "image_encoder"
_GOLDEN_IMAGE, _GOLDEN_TENSORS = "golden/image.png", "golden/tensors.npz"
_PROBABILITIES = ("scores", "probability", "quality")
_MOST = 0.5
_FAR_OUTSIDE = 5.0  # times the image's side; a decoding of anchors reaches beyond the border, but not so far
_RECORDED = (
    "edgewright",
    "onnx",
    "onnxruntime",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
    "torch",
    "torchvision",
    "transformers",
)


@dataclass(frozen=True)
class Origin:
    """Where a network comes from, for the manifest."""

    source: str
    source_sha256: str | None
    family: str
    exporter: str
    opset: int


def write_bundle(
    path: Path,
    model: bytes,
    spec: ModelSpec,
    origin: Origin,
    *,
    complexity: Complexity | None,
    image: Image | None = None,
    parity: Parity | None = None,
    replace: bool = False,
    graphs: Mapping[str, bytes] | None = None,
    feeds: Tensors | None = None,
) -> Bundle:
    """Write the bundle of an ONNX `model` to the folder `path` and load it again.

    A quantized one becomes the int8 model of ONNX Runtime, beside a copy that OpenVINO computes correctly. Else it is fp32.
    `graphs` are the further models of `spec.graphs`, in NAME.onnx each, and `feeds` gives what they take that no graph
    gives, by "input:NAME". Everything runs once in ONNX Runtime on `image` (default: a rendered conveyor scene); what comes
    out becomes the golden tensors. ExportError when it cannot be what the head says: NaN, scores outside [0, 1], no such
    output.
    """
    picture = _default_picture() if image is None else image
    with atomic_folder(path, replace=replace) as folder:
        name = MODEL if graphs is None else f"{IMAGE_ENCODER}.onnx"
        (folder / name).write_bytes(model)
        for graph, content in (graphs or {}).items():
            (folder / f"{graph}.onnx").write_bytes(content)
        models, precision = _model_files(folder, name, onnx.load_from_string(model))
        tensors = reference_run(folder / name, spec, picture, precision=precision)
        for further in spec.graphs or ():
            tensors |= _further_run(folder, further, spec, {**tensors, **(feeds or {})})
        _write_golden(folder, picture, tensors)
        manifest = Manifest(
            spec=spec,
            files=(
                *models,
                *(describe_file(folder, f"{g}.onnx", "model", precision="fp32", graph=g) for g in graphs or {}),
                describe_file(folder, _GOLDEN_IMAGE, "golden"),
                describe_file(folder, _GOLDEN_TENSORS, "golden"),
            ),
            provenance=_provenance(origin),
            complexity=complexity,
            golden=Golden(image=_GOLDEN_IMAGE, tensors=_GOLDEN_TENSORS, backend="ort", precision=precision),
            parity=parity,
        )
        seal(folder, manifest)
    return load_bundle(path)


def _model_files(folder: Path, name: str, model: onnx.ModelProto) -> tuple[tuple[BundleFile, ...], Precision]:
    """The entries of the model in file `name`, and its precision; what a quantized one needs besides is written."""
    if not is_quantized(model):
        return (describe_file(folder, name, "model", precision="fp32"),), "fp32"
    (folder / "openvino").mkdir()
    unsigned = f"openvino/{name}"
    (folder / unsigned).write_bytes(with_unsigned_activations(model).SerializeToString())
    targets = ((name, "ort"), (unsigned, "ov"))
    return tuple(describe_file(folder, n, "model", precision="int8", target=t) for n, t in targets), "int8"


def reference_run(
    model: Path, spec: ModelSpec, image: Image, *, precision: Precision = "fp32"
) -> dict[str, npt.NDArray[Any]]:
    """The input tensor and the outputs of one image in ONNX Runtime, as "input:NAME" and "output:NAME"."""
    try:
        engine = open_backend("ort", model, BackendOptions(precision=precision))
        with Predictor(spec, engine, spec.postprocess) as predictor:
            regions = None if spec.proposals is None else window_regions(image, spec.proposals.count)
            feeds, placement = predictor.prepare(image, regions)
            outputs = predictor.infer(feeds)
            check_outputs(outputs, spec)
            if spec.graphs is None:
                predictor.finish(outputs, placement)
            named = {f"input:{name}": value.copy() for name, value in feeds.items()}
            return {**named, **{f"output:{name}": value.copy() for name, value in outputs.items()}}
    except BackendError as err:
        raise ExportError(f"the model does not run: {err}") from err


def _further_run(folder: Path, graph: GraphSpec, spec: ModelSpec, known: Tensors) -> dict[str, npt.NDArray[Any]]:
    """What the graph was given from outside and what it gave, as "input:NAME" and "output:NAME"."""
    given = {t.name: known[f"input:{t.name}"] for t in graph.inputs if f"output:{t.name}" not in known}
    feeds = {t.name: known[f"output:{t.name}"] for t in graph.inputs if t.name not in given} | given
    try:
        with open_backend("ort", folder / f"{graph.name}.onnx", BackendOptions()) as engine:
            outputs = {name: value.copy() for name, value in engine.infer(feeds).items()}
    except BackendError as err:
        raise ExportError(f"the graph '{graph.name}' does not run: {err}") from err
    check_outputs(outputs, spec.model_copy(update={"outputs": graph.outputs}))
    return {f"input:{n}": value for n, value in given.items()} | {f"output:{n}": v for n, v in outputs.items()}


def check_outputs(outputs: dict[str, npt.NDArray[Any]], spec: ModelSpec) -> None:
    """ExportError when an output has another shape than declared, NaN or infinity, or scores outside [0, 1]."""
    for tensor in spec.outputs:
        value = outputs[tensor.name]
        # The map of a tiled image has as many cells as the image asks for.
        sides = 2 if spec.tiling is not None else 0
        if value.shape[: value.ndim - sides] != tensor.shape[: len(tensor.shape) - sides]:
            raise ExportError(
                f"output '{tensor.name}' has shape {list(value.shape)} when it runs, {list(tensor.shape)} was declared"
            )
        if not np.isfinite(value).all():
            raise ExportError(
                f"output '{tensor.name}' holds NaN or infinity on a test image; the family or the pre-processing does not fit "
                "this network (are its boxes decoded already?): check --family, --scale, --mean and --std"
            )
    for role in _PROBABILITIES:
        if spec.head.outputs.get(role) in outputs:
            _check_probabilities(spec.head.outputs[role], outputs)
    if spec.head.outputs.get("boxes") in outputs:
        _doubt_boxes(spec.head.outputs["boxes"], outputs, spec.head.boxes)


def _check_probabilities(name: str, outputs: dict[str, npt.NDArray[Any]]) -> None:
    values = outputs[name]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if low < -1e-3 or high > 1 + 1e-3:
        raise ExportError(
            f"output '{name}' ranges from {low:.3g} to {high:.3g} on a test image, probabilities from 0 to 1 are wanted; "
            "export the network with its sigmoid or softmax, or check --family (family generic: the key activation)"
        )


def _doubt_boxes(name: str, outputs: dict[str, npt.NDArray[Any]], box_format: BoxFormat) -> None:
    """A warning when most boxes cannot be what their format says: a trained network may err in some, not in half of them."""
    boxes = outputs[name].reshape(-1, 4)
    boxes = boxes[(boxes != 0).any(axis=1)]  # rows that pad a fixed number
    if not len(boxes):
        return
    order, unit = box_format.split("_")
    sides = boxes[:, 2:] - boxes[:, :2] if order == "xyxy" else boxes[:, 2:]
    wrong = None
    if (sides < 0).any(axis=1).mean() > _MOST:
        wrong = f"{'end before they start' if order == 'xyxy' else 'have negative sides'}, as {order}"
    elif unit == "unit" and (np.abs(boxes) > _FAR_OUTSIDE).any(axis=1).mean() > _MOST:
        wrong = "lie far outside the image, as fractions of it"
    elif unit == "pixels" and (np.abs(boxes) <= 1).all():
        wrong = "are smaller than a pixel"
    if wrong is not None:
        _log.warning(
            "output '%s': most boxes %s on a test image, such as %s; check --family (family generic: the keys box_format and "
            "boxes_output), unless the network is not trained",
            name, wrong, boxes[0].astype(float).round(3).tolist(),
        )  # fmt: skip


def read_image(path: Path) -> Image:
    """An image file as BGR uint8 (H, W, 3); ExportError when it is none."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if image is None:
        raise ExportError(f"{path} is not a readable image; give a JPEG or PNG file")
    return np.asarray(image, np.uint8)


def _default_picture() -> Image:
    from edgewright.runtime.conveyor import render_scene

    return render_scene(0, 0).image


def _write_golden(folder: Path, image: Image, tensors: dict[str, npt.NDArray[Any]]) -> None:
    (folder / "golden").mkdir()
    if not cv2.imwrite(str(folder / _GOLDEN_IMAGE), image):
        raise ExportError(f"cannot write {folder / _GOLDEN_IMAGE}; check the free disk space")
    np.savez_compressed(folder / _GOLDEN_TENSORS, allow_pickle=False, **tensors)


def _provenance(origin: Origin) -> Provenance:
    installed = {package: _version(package) for package in _RECORDED}
    versions = {"python": platform.python_version(), **{name: v for name, v in installed.items() if v is not None}}
    return Provenance(
        source=origin.source,
        source_sha256=origin.source_sha256,
        family=origin.family,
        exporter=origin.exporter,
        opset=origin.opset,
        versions=versions,
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
