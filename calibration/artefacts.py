"""The files that one calibration gives every engine, and the bundle that holds them."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from edgewright.calibration.half import to_half
from edgewright.calibration.network import Network, prepared
from edgewright.calibration.observe import Observation
from edgewright.calibration.opsets import for_old_parsers, to_opset
from edgewright.calibration.plan import Plan, quantized
from edgewright.runtime.atomic import atomic_folder
from edgewright.runtime.backends import BackendOptions, open_backend
from edgewright.runtime.bundle import Bundle, BundleFile, Golden, Precision, Tolerance, describe_file, load_bundle, seal
from edgewright.runtime.errors import CalibrationError
from edgewright.runtime.predictor import Predictor

# The Q/DQ dialects of TensorRT: 8.5 to 10.11 reads float32 scales at opset 17, 10.12 and later takes the types as they are.
WEAK_OPSET, STRONG_OPSET = 17, 19
# A value on the border of two integers may fall to either on another processor, and takes its neighbours along.
_ROUGH = Tolerance(absolute=0.1, relative=0.1)
Role = Literal["model", "weights", "calibration"]


@dataclass(frozen=True)
class NewFile:
    """A file for a bundle: its content, its name there and what it is."""

    path: Path
    name: str
    role: Role
    precision: Precision | None = None
    target: str = "any"
    dialect: Literal["weak", "strong"] | None = None


def with_files(
    bundle: Bundle,
    files: Sequence[NewFile],
    output: Path,
    *,
    calibration_sha256: str | None = None,
    replace: bool = False,
) -> Bundle:
    """The bundle in folder `output` that holds what `bundle` does and `files` besides; of the same name, the new one stays.

    Models that ONNX Runtime or OpenVINO run here get golden tensors of their own.
    """
    names = {file.name for file in files}
    with atomic_folder(output, replace=replace) as folder:
        for entry in bundle.files:
            if entry.name not in names:
                _place(bundle.path / entry.name, folder / entry.name)
        for file in files:
            _place(file.path, folder / file.name)
        kept = tuple(entry for entry in bundle.files if entry.name not in names)
        goldens = tuple(_golden(bundle, folder, file) for file in files if _runs_here(bundle, file))
        tensors = tuple(describe_file(folder, golden.tensors, "golden") for golden in goldens)
        added = (*(_entry(folder, file) for file in files), *tensors)
        provenance = bundle.manifest.provenance
        if calibration_sha256 is not None:
            provenance = provenance.model_copy(update={"calibration_sha256": calibration_sha256})
        changes = {"files": (*kept, *added), "provenance": provenance, "lower_goldens": goldens or None, "digest": ""}
        manifest = bundle.manifest.model_copy(update=changes)
        seal(folder, manifest)
    return load_bundle(output)


def openvino_model(plan: Plan, network: Network, observation: Observation) -> onnx.ModelProto:
    """Unsigned activations with the zero point that their range asks for: what OpenVINO computes best, and correctly."""
    return quantized(plan, network, observation, activation="uint8")


def weak_model(plan: Plan, network: Network, observation: Observation) -> onnx.ModelProto:
    """TensorRT 8.5 to 10.11, and the reference in ONNX Runtime: opset 17, signed, float32 scales."""
    return _weak(quantized(plan, network, observation, activation="int8"))


def weak_float_model(network: Network) -> onnx.ModelProto:
    """The float32 network as TensorRT 8.5 to 10.11 reads it, which makes fp16 of it by a flag."""
    return _weak(network.model)


def _weak(model: onnx.ModelProto) -> onnx.ModelProto:
    return for_old_parsers(to_opset(model, WEAK_OPSET))


def strong_model(plan: Plan, network: Network, observation: Observation, largest: dict[str, float]) -> onnx.ModelProto:
    """TensorRT 10.12 and later: opset 19, signed, everything that is not int8 in float16 where it does not overflow."""
    signed = to_opset(quantized(plan, network, observation, activation="int8"), STRONG_OPSET)
    return to_half(Network(signed), largest).model


def half_model(network: Network, largest: dict[str, float], *, strong: bool = False) -> onnx.ModelProto:
    """The float16 network; with `strong`, at the opset that TensorRT 10.12 and later are given."""
    source = prepared(to_opset(network.model, STRONG_OPSET)) if strong else network
    return to_half(source, largest).model


def _runs_here(bundle: Bundle, file: NewFile) -> bool:
    return file.role == "model" and file.target in ("ort", "ov") and bundle.manifest.golden is not None


def _golden(bundle: Bundle, folder: Path, file: NewFile) -> Golden:
    """The outputs of a new model for the bundle's golden input, which are not those of the float model."""
    first = bundle.manifest.golden
    if first is None or file.precision is None:
        raise CalibrationError(f"{bundle.path} has no golden tensors; export the bundle again")
    with np.load(bundle.file(first.tensors), allow_pickle=False) as archive:
        inputs = {name.removeprefix("input:"): archive[name] for name in archive.files if name.startswith("input:")}
    engine = open_backend(file.target, folder / file.name, BackendOptions(precision=file.precision))
    # Through a predictor, which cuts images into tiles where the network wants them.
    with Predictor(bundle.spec, engine, bundle.spec.postprocess) as predictor:
        outputs = {f"output:{name}": value.copy() for name, value in predictor.infer(inputs).items()}
    name = f"golden/{file.target}_{file.precision}.npz"
    stored = {**{f"input:{key}": value for key, value in inputs.items()}, **outputs}
    np.savez_compressed(folder / name, allow_pickle=False, **stored)
    return Golden(image=first.image, tensors=name, backend=file.target, precision=file.precision, tolerance=_ROUGH)


def _place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _entry(folder: Path, file: NewFile) -> BundleFile:
    entry = describe_file(folder, file.name, file.role, precision=file.precision, target=file.target)
    return entry.model_copy(update={"dialect": file.dialect})
