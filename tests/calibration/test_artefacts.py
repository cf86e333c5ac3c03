from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto
from tests.calibration.graphs import images, residual_network, run
from tests.tiny import tiny_bundle

from edgewright.calibration.artefacts import NewFile, openvino_model, strong_model, weak_model, with_files
from edgewright.calibration.network import opset_of, prepared
from edgewright.calibration.observe import observe
from edgewright.calibration.plan import Plan, sites_of
from edgewright.runtime.bundle import load_bundle

NETWORK, PLAN = prepared(residual_network()), Plan(collector="minmax")
SEEN = observe(NETWORK.model, sites_of(PLAN, NETWORK).tensors, [partial(dict, images=image) for image in images(4)])


def test_three_graphs_of_one_calibration_say_the_same() -> None:
    image = images(1)[0]
    wanted = run(NETWORK.model, image)["output"]
    models = {
        "weak": weak_model(PLAN, NETWORK, SEEN),
        "strong": strong_model(PLAN, NETWORK, SEEN, {}),
        "openvino": openvino_model(PLAN, NETWORK, SEEN),
    }
    for name, model in models.items():
        onnx.checker.check_model(model, full_check=True)
        assert np.abs(run(model, image, faithful=True)["output"] - wanted).max() < 0.06, name


def test_the_weak_dialect_is_opset_17_with_float_scales_and_the_strong_one_opset_19_with_half_scales() -> None:
    for model, opset, kind in (
        (weak_model(PLAN, NETWORK, SEEN), 17, TensorProto.FLOAT),
        (strong_model(PLAN, NETWORK, SEEN, {}), 19, TensorProto.FLOAT16),
    ):
        assert opset_of(model) == opset
        types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        scales = {
            types[node.input[1]] for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")
        }
        assert scales == {kind}


def test_a_derived_bundle_holds_old_and_new_files(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path)
    added = tmp_path / "int8.onnx"
    added.write_bytes((bundle.path / "model.onnx").read_bytes())
    file = NewFile(added, "openvino/int8.onnx", "model", precision="int8", target="ov")
    derived = with_files(bundle, [file], tmp_path / "int8", calibration_sha256="0" * 64)
    again = load_bundle(derived.path)
    assert again.model_file(backend="ov", precision="int8").name == "openvino/int8.onnx"
    assert again.model_file(backend="ov", precision="fp32").name == "model.onnx"
    assert again.manifest.provenance.calibration_sha256 == "0" * 64
    assert again.digest != bundle.digest
