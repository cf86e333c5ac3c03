"""A bundle whose networks take any number of images at once, proven row by row against the same networks with one."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgewright.export.batch_axis import with_open_batch
from edgewright.export.bundling import read_image
from edgewright.export.parity import compare_tensors, parity_images
from edgewright.runtime.atomic import atomic_folder
from edgewright.runtime.backends import BackendOptions, open_backend
from edgewright.runtime.bundle import (
    MANIFEST,
    BackendParity,
    Bundle,
    BundleFile,
    Parity,
    describe_file,
    load_bundle,
    seal,
)
from edgewright.runtime.errors import BackendError, ExportError, MissingDependencyError, ParityError, UsageError
from edgewright.runtime.preprocess import preprocess
from edgewright.runtime.results import Image
from edgewright.runtime.spec import BATCH, ModelSpec, TensorSpec

_log = logging.getLogger(__name__)
Tensors = Mapping[str, npt.NDArray[Any]]
# In fewer bits a value on the border of two numbers may fall to either, and takes its neighbours along.
_ROUGH = 0.1
_INSTEAD = "frames side by side go through it with `edgewright run --streams`"


def open_batch(bundle: Bundle, output: Path, *, replace_it: bool = False) -> Bundle:
    """The bundle in folder `output`: every model of `bundle` with an open batch, in all its precisions.

    UsageError for a network that is not run on whole images alone, ExportError for a graph that cannot be opened, and
    ParityError where a row of a batch is not what its image gives alone.
    """
    _check(bundle)
    models = [entry for entry in bundle.files if entry.role == "model"]
    images = _images(bundle)
    with atomic_folder(output, replace=replace_it) as folder:
        shutil.copytree(bundle.path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
        opened = {entry.name: _opened(bundle, folder, entry) for entry in models}
        proofs = tuple(proof for entry in models for proof in _proofs(bundle, folder, entry, images))
        spec = bundle.spec.model_copy(
            update={"inputs": _open(bundle.spec.inputs), "outputs": _open(bundle.spec.outputs)}
        )
        changes = {
            "spec": spec,
            "files": tuple(opened.get(entry.name, entry) for entry in bundle.files),
            "batch": Parity(reference="one image at a time", images=tuple(images), backends=proofs),
            "digest": "",
        }
        seal(folder, bundle.manifest.model_copy(update=changes))
    return load_bundle(output)


def _check(bundle: Bundle) -> None:
    spec = bundle.spec
    if spec.inputs[0].shape[0] == BATCH:
        raise UsageError(f"{bundle.path} has an open batch already; run it with --batch N")
    reason = None
    if spec.graphs is not None or spec.task == "prompted":
        reason = "is asked in several steps, one image at a time"
    elif spec.tiling is not None:
        reason = "is run on the tiles of one image after another"
    elif spec.proposals is not None:
        reason = "takes the regions of one image from outside"
    if reason is not None:
        raise UsageError(f"{spec.name} {reason}, so its batch stays 1; {_INSTEAD}")


def _open(tensors: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    return tuple(tensor.model_copy(update={"shape": (BATCH, *tensor.shape[1:])}) for tensor in tensors)


def _opened(bundle: Bundle, folder: Path, entry: BundleFile) -> BundleFile:
    """Write the model with an open batch over its copy; weights in files of their own stay as they are."""
    try:
        model = with_open_batch(onnx.load(str(folder / entry.name), load_external_data=False), entry.name)
    except ExportError as err:
        raise ExportError(f"the batch of {bundle.spec.name} stays 1: {err}; {_INSTEAD}") from err
    (folder / entry.name).write_bytes(model.SerializeToString())
    written = describe_file(folder, entry.name, "model")
    return entry.model_copy(update={"sha256": written.sha256, "size": written.size})


def _images(bundle: Bundle) -> dict[str, Image]:
    golden = bundle.manifest.golden
    return parity_images(
        bundle.spec.preprocess.size_hw, None if golden is None else read_image(bundle.file(golden.image))
    )


def _proofs(bundle: Bundle, folder: Path, entry: BundleFile, images: Mapping[str, Image]) -> list[BackendParity]:
    """How closely rows follow single images, in every backend that runs the file here.

    TensorRT's are run by ONNX Runtime, which computes what the graph says.
    """
    backends = {"any": ("ort", "ov"), "ov": ("ov",)}.get(entry.target, ("ort",))
    return [_proof_if_possible(bundle, folder / entry.name, entry, backend, images) for backend in backends]


def _proof_if_possible(
    bundle: Bundle, opened: Path, entry: BundleFile, backend: str, images: Mapping[str, Image]
) -> BackendParity:
    try:
        return _proof(bundle, opened, entry, backend, images)
    except (MissingDependencyError, BackendError) as err:
        if entry.target == "any" and backend == "ort":
            raise ExportError(f"the batch of {bundle.spec.name} stays 1: {err}; {_INSTEAD}") from err
        _log.warning("batches of %s in backend '%s' are not proven: %s", entry.name, backend, err)
        return BackendParity(backend=backend, file=entry.name, problem=str(err))


def _proof(bundle: Bundle, opened: Path, entry: BundleFile, backend: str, images: Mapping[str, Image]) -> BackendParity:
    """All images in one batch, and again in the opposite order, so that each has other neighbours."""
    spec, options = bundle.spec, BackendOptions(precision=entry.precision or "fp32")
    name = spec.inputs[0].name
    tensors = [preprocess(image, spec.preprocess)[0] for image in images.values()]
    with open_backend(backend, bundle.file(entry.name), options) as engine:
        alone = [_kept(engine.infer({name: tensor})) for tensor in tensors]
    errors: dict[str, float] = {}
    with open_backend(backend, opened, replace(options, batch=len(tensors))) as engine:
        for order in (range(len(tensors)), range(len(tensors) - 1, -1, -1)):
            together = _kept(engine.infer({name: np.concatenate([tensors[index] for index in order])}))
            for row, index in enumerate(order):
                got = {key: value[row : row + 1] for key, value in together.items()}
                where = f"for the image '{list(images)[index]}' as row {row} of a batch of {entry.name} in backend '{backend}'"
                for key, error in _errors(alone[index], got, spec, entry, where).items():
                    errors[key] = max(errors.get(key, 0.0), error)
        version = engine.settings.get("engine_version")
    return BackendParity(
        backend=backend, file=entry.name, engine_version=None if version is None else str(version), tensors=errors
    )


def _errors(wanted: Tensors, got: Tensors, spec: ModelSpec, entry: BundleFile, where: str) -> dict[str, float]:
    """The largest error of every output; ParityError beyond what rounding does."""
    if entry.precision in (None, "fp32"):
        try:
            return compare_tensors(dict(wanted), dict(got), spec, spec.postprocess.conf_threshold, where=where)
        except ParityError as err:
            what = str(err).partition("; ")[0]
            raise ParityError(f"{what}: the images of a batch change one another, so it stays 1; {_INSTEAD}") from err
    errors = {}
    for tensor in spec.outputs:
        reference = wanted[tensor.name].astype(np.float64)
        difference = np.abs(reference - got[tensor.name]) / np.maximum(1.0, np.abs(reference))
        errors[tensor.name] = float(difference.max(initial=0.0))
        if not errors[tensor.name] <= _ROUGH:  # NaN fails too
            raise ParityError(
                f"output '{tensor.name}' differs by {errors[tensor.name]:.3g} {where}, {_ROUGH} is allowed"
            )
    return errors


def _kept(outputs: Tensors) -> dict[str, npt.NDArray[Any]]:
    return {name: value.copy() for name, value in outputs.items()}
