"""The rules against deliberate breakages, and against NVIDIA's own parser where that is installed."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.calibration.graphs import Builder, images, residual_network
from tests.pipeline.rtx import Oracle

from edgewright.calibration.artefacts import half_model, openvino_model, strong_model, weak_model
from edgewright.calibration.network import prepared
from edgewright.calibration.observe import observe
from edgewright.calibration.plan import Plan, sites_of
from edgewright.pipeline.cli import main
from edgewright.pipeline.lint import Finding, lint, verdict
from edgewright.pipeline.lint.graphs import OPENVINO, CheckedGraph, graphs_of
from edgewright.pipeline.lint.sarif import sarif
from edgewright.runtime.errors import UsageError
from edgewright.runtime.tensorrt.targets import find_target

NETWORK, PLAN = prepared(residual_network()), Plan(collector="minmax")
SEEN = observe(NETWORK.model, sites_of(PLAN, NETWORK).tensors, [partial(dict, images=i) for i in images(4)])
WEAK = weak_model(PLAN, NETWORK, SEEN)
STRONG = strong_model(PLAN, NETWORK, SEEN, {})
TRT8, TRT103, TRT11 = find_target("trt8.5@sm87"), find_target("jetpack6.2"), find_target("trt11.4.1@sm86")

Breakage = Callable[[onnx.ModelProto], None]


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def broken(model: onnx.ModelProto, breakage: Breakage) -> onnx.ModelProto:
    copy = copied(model)
    breakage(copy)
    return copy


def named(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    found: onnx.TensorProto = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    return found


def replaced(name: str, values: Any) -> Breakage:
    def change(model: onnx.ModelProto) -> None:
        named(model, name).CopyFrom(numpy_helper.from_array(np.asarray(values), name))

    return change


def zero_points(values: Any) -> Breakage:
    """Other zero points of one activation, and weights left alone."""
    return replaced("stem_act/zero", values)


def without_axis(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.name == "a/w/axis0/DequantizeLinear")
    del node.attribute[:]


def wrong_axis(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.name == "a/w/axis0/DequantizeLinear")
    node.attribute[0].i = 1


def quantized_bias(model: onnx.ModelProto) -> None:
    for name, values in (
        ("q", np.zeros(16, np.int32)),
        ("qs", np.full(16, 1e-4, np.float32)),
        ("qz", np.zeros(16, np.int32)),
    ):
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    node = helper.make_node("DequantizeLinear", ["q", "qs", "qz"], ["bias"], name="bias", axis=0)
    model.graph.node.insert(0, node)
    next(node for node in model.graph.node if node.name == "a").input[2] = "bias"


def per_channel_activation(model: onnx.ModelProto) -> None:
    replaced("stem_act/scale", np.full(16, 0.1, np.float32))(model)
    replaced("stem_act/zero", np.zeros(16, np.int8))(model)
    for node in model.graph.node:
        if "stem_act/scale" in node.input:
            node.attribute.append(helper.make_attribute("axis", 1))


def pair_before_activation(model: onnx.ModelProto) -> None:
    insert_pair(model, "a", next(node for node in model.graph.node if node.name == "a_act"))


def quantized_output(model: onnx.ModelProto) -> None:
    """The last node's output gets a pair and another name in front of it."""
    last = next(node for node in model.graph.node if "output" in node.output)
    last.output[0] = "raw"
    append_pair(model, "raw", "output")


def insert_pair(model: onnx.ModelProto, tensor: str, reader: onnx.NodeProto) -> None:
    place = next(index for index, node in enumerate(model.graph.node) if node.name == reader.name)
    reader.input[0] = f"{tensor}/back"
    for node in reversed(pair(model, tensor, f"{tensor}/back")):
        model.graph.node.insert(place, node)


def append_pair(model: onnx.ModelProto, tensor: str, output: str) -> None:
    model.graph.node.extend(pair(model, tensor, output))


def pair(model: onnx.ModelProto, tensor: str, output: str) -> list[onnx.NodeProto]:
    for name, values in (("ps", np.asarray(0.1, np.float32)), ("pz", np.asarray(0, np.int8))):
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    return [
        helper.make_node("QuantizeLinear", [tensor, "ps", "pz"], ["pq"], name="pair"),
        helper.make_node("DequantizeLinear", ["pq", "ps", "pz"], [output], name="pair/back"),
    ]


BREAKAGES: list[tuple[str, onnx.ModelProto, Breakage, str]] = [
    ("a zero point that is not 0", WEAK, zero_points(np.int8(3)), "quantization-zero-point"),
    ("unsigned activations", WEAK, zero_points(np.uint8(128)), "quantization-uint8"),
    ("unsigned activations at 0", WEAK, zero_points(np.uint8(0)), "quantization-uint8"),
    ("a scale of 0", WEAK, replaced("stem_act/scale", np.float32(0)), "quantization-scale"),
    ("a negative scale", WEAK, replaced("stem_act/scale", np.float32(-0.1)), "quantization-scale"),
    ("an infinite scale", WEAK, replaced("stem_act/scale", np.float32(np.inf)), "quantization-scale"),
    ("a scale that half precision makes 0", WEAK, replaced("stem_act/scale", np.float32(1e-8)), "quantization-scale-half"),
    ("weights without an axis", WEAK, without_axis, "quantization-axis"),
    ("weights along the wrong axis", WEAK, wrong_axis, "quantization-axis"),
    ("a bias of 32 bits", WEAK, quantized_bias, "quantization-int32"),
    ("an activation per channel", WEAK, per_channel_activation, "quantization-per-channel"),
    ("a pair between convolution and activation", WEAK, pair_before_activation, "quantization-fusion"),
    ("a quantized output", WEAK, quantized_output, "quantization-output"),
    ("a float32 scale in a half network", STRONG, replaced("stem_act/scale/half", np.float32(0.1)), "mixed-types"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "model", "breakage", "rule"), BREAKAGES, ids=[entry[0] for entry in BREAKAGES])
def test_a_breakage_of_quantization_is_found(what: str, model: onnx.ModelProto, breakage: Breakage, rule: str) -> None:
    found = lint(broken(model, breakage), TRT103 if model is WEAK else TRT11, precision="int8")
    assert rule in {finding.rule for finding in found}, what


@pytest.mark.parametrize(("model", "target"), [(WEAK, TRT8), (WEAK, TRT103), (STRONG, TRT11)])
def test_what_this_project_writes_has_no_findings(model: onnx.ModelProto, target: Any) -> None:
    assert lint(model, target, precision="int8") == []
    half = half_model(NETWORK, {}, strong=target is TRT11)
    assert [f for f in lint(half, target, precision="fp16") if f.level == "error"] == []


X = (TensorProto.FLOAT, [1, 8, 16, 16])
INDICES = (TensorProto.INT64, None)


def single(
    op: str, inputs: list[Any], output: Any, *, opset: int = 17, outputs: int = 1, **attributes: Any
) -> onnx.ModelProto:
    """One node; arrays are constants, (type, shape) inputs, None is left out."""
    names, given, constants = [], [], []
    for number, value in enumerate(inputs):
        name = f"i{number}"
        names.append("" if value is None else name)
        if isinstance(value, tuple):
            given.append(helper.make_tensor_value_info(name, *value))
        elif value is not None:
            constants.append(numpy_helper.from_array(np.asarray(value), name))
    made = [f"o{number}" for number in range(outputs)]
    node = helper.make_node(op, names, made, name="node", **attributes)
    # TopK's second output are indices.
    kinds = [output] if outputs == 1 or op != "TopK" else [output, INDICES]
    results = [helper.make_tensor_value_info(name, *kinds[min(k, len(kinds) - 1)]) for k, name in enumerate(made)]
    return helper.make_model(
        helper.make_graph([node], "g", given, results, constants),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=9,
    )


Y = (TensorProto.FLOAT, None)
OPERATORS: list[tuple[str, onnx.ModelProto, str]] = [
    (
        "MaxUnpool",
        single("MaxUnpool", [X, (TensorProto.INT64, [1, 8, 16, 16])], Y, opset=11, kernel_shape=[2, 2], strides=[2, 2]),
        "operator",
    ),
    ("MaxRoiPool", single("MaxRoiPool", [X, (TensorProto.FLOAT, [4, 5])], Y, pooled_shape=[7, 7]), "operator"),
    ("Unique", single("Unique", [(TensorProto.FLOAT, [10])], Y), "operator"),
    ("Compress", single("Compress", [(TensorProto.FLOAT, [10, 4]), (TensorProto.BOOL, [10])], Y, axis=0), "operator"),
    (
        "TopK of 3841",
        single("TopK", [(TensorProto.FLOAT, [1, 8400]), np.array([3841])], Y, outputs=2, axis=-1),
        "top-k",
    ),
    (
        "Resize half_pixel_symmetric",
        single(
            "Resize",
            [X, None, np.array([1, 1, 2, 2], np.float32)],
            Y,
            opset=19,
            mode="linear",
            coordinate_transformation_mode="half_pixel_symmetric",
        ),
        "resize",
    ),
    (
        "Resize antialias",
        single("Resize", [X, None, np.array([1, 1, 2, 2], np.float32)], Y, opset=19, mode="linear", antialias=1),
        "resize",
    ),
    (
        "Resize not_larger",
        single(
            "Resize",
            [X, None, None, np.array([1, 8, 32, 32])],
            Y,
            opset=19,
            mode="linear",
            keep_aspect_ratio_policy="not_larger",
        ),
        "resize",
    ),
    ("MaxPool with dilations", single("MaxPool", [X], Y, opset=12, kernel_shape=[2, 2], dilations=[2, 2]), "max-pool"),
    (
        "ScatterND add",
        single("ScatterND", [X, np.array([[0]]), (TensorProto.FLOAT, [1, 8, 16, 16])], Y, opset=18, reduction="add"),
        "scatter",
    ),
    (
        "uint8 input transposed first",
        single("Transpose", [(TensorProto.UINT8, [1, 8, 8, 3])], (TensorProto.UINT8, None), perm=[0, 3, 1, 2]),
        "uint8-input",
    ),
    (
        "DynamicQuantizeLinear",
        single("DynamicQuantizeLinear", [X], (TensorProto.UINT8, None), opset=13, outputs=3),
        "operator",
    ),
]


@pytest.mark.parametrize(("what", "model", "rule"), OPERATORS, ids=[entry[0] for entry in OPERATORS])
def test_an_operator_that_is_not_read_is_found(what: str, model: onnx.ModelProto, rule: str) -> None:
    found = [finding for finding in lint(model, TRT11) if finding.level == "error"]
    assert rule in {finding.rule for finding in found}, what


@pytest.mark.parametrize(
    ("model", "target", "rule"),
    [
        (single("Mish", [X], Y, opset=18), "trt8.6", "operator-version"),
        (single("Relu", [X], Y, opset=18), "jetpack5.1", "opset"),
        (single("ScatterND", [X, np.array([[0]]), X], Y, opset=18, reduction="none"), "jetpack6.2", "scatter"),
        (
            single(
                "Einsum",
                [(TensorProto.FLOAT, [2, 3, 4]), (TensorProto.FLOAT, [2, 4, 5])],
                Y,
                equation="...ij,...jk->...ik",
            ),
            "jetpack6.2",
            "einsum",
        ),
        (single("Slice", [X, np.array([0]), np.array([4]), (TensorProto.INT64, [1])], Y), "trt8.6", "axes"),
    ],
)
def test_a_version_that_is_too_old_is_found_and_a_new_one_is_not(
    model: onnx.ModelProto, target: str, rule: str
) -> None:
    assert rule in {finding.rule for finding in lint(model, find_target(target))}
    assert rule not in {finding.rule for finding in lint(model, TRT11)}


def test_weights_beyond_half_precision_are_named() -> None:
    net = Builder()
    net.add("Mul", [net.conv("images", (3, 16), "stem"), net.constant("large", np.float32(1e6))], "output")
    found = lint(net.model({"output": (1, 16, 16, 16)}), TRT103, precision="fp16")
    assert [(finding.rule, finding.where) for finding in found] == [("half-range", "large")]


def test_signed_activations_are_an_error_for_openvino_and_unsigned_ones_are_not() -> None:
    assert [finding.rule for finding in lint(WEAK, OPENVINO)] == ["signed-activations"]
    assert lint(openvino_model(PLAN, NETWORK, SEEN), OPENVINO) == []


def test_every_finding_names_its_source_and_what_to_do() -> None:
    models = [broken(model, breakage) for _, model, breakage, _ in BREAKAGES] + [model for _, model, _ in OPERATORS]
    for model in models:
        for finding in lint(model, TRT103, precision="int8"):
            assert isinstance(finding, Finding)
            assert finding.source
            assert finding.remedy


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle()


# What the parser of TensorRT-RTX takes although it is wrong or slow: NVIDIA's headers forbid it, or a kernel is missing.
LENIENT = {
    "unsigned activations at 0": "taken for int8, with a warning",
    "weights without an axis": "the importer means axis 0, ONNX axis 1",
    "weights along the wrong axis": "accepted and computed wrongly",
    "an activation per channel": "accepted; no kernel computes it",
    "a pair between convolution and activation": "slow, not wrong",
    "a quantized output": "inaccurate, not wrong",
    "a scale that half precision makes 0": "positive as written",
    "an infinite scale": "not checked by the parser",
}


@pytest.mark.parametrize(("what", "model", "breakage", "rule"), BREAKAGES, ids=[entry[0] for entry in BREAKAGES])
def test_nvidias_parser_agrees_on_quantization(
    oracle: Oracle, what: str, model: onnx.ModelProto, breakage: Breakage, rule: str
) -> None:
    problem = oracle.problem(broken(model, breakage), build=False)
    assert (problem is None) == (what in LENIENT), problem


@pytest.mark.parametrize(("what", "model", "rule"), OPERATORS, ids=[entry[0] for entry in OPERATORS])
def test_nvidias_parser_and_builder_agree_on_operators(
    oracle: Oracle, what: str, model: onnx.ModelProto, rule: str
) -> None:
    assert oracle.problem(model) is not None


@pytest.mark.parametrize("model", [STRONG, half_model(NETWORK, {}, strong=True), NETWORK.model])
def test_nvidias_builder_builds_what_this_project_writes(oracle: Oracle, model: onnx.ModelProto) -> None:
    assert oracle.problem(model) is None


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(str(ended.value.code))


def test_the_command_exits_with_1_on_an_error_and_writes_json_and_sarif(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(broken(WEAK, zero_points(np.int8(3))), str(tmp_path / "bad.onnx"))
    reports = tmp_path / "report.json", tmp_path / "report.sarif"
    assert (
        run("lint", tmp_path / "bad.onnx", "--target", "jetpack6.2", "--json", reports[0], "--sarif", reports[1]) == 1
    )
    assert "its zero point is 3, 0 is wanted" in capsys.readouterr().out
    report, log = (json.loads(path.read_text()) for path in reports)
    assert report["verdict"] == "fails"
    assert {result["ruleId"] for result in log["runs"][0]["results"]} == {"quantization-zero-point"}
    onnx.save(WEAK, str(tmp_path / "good.onnx"))
    assert run("lint", tmp_path / "good.onnx", "--target", "jetpack6.2", "--precision", "int8") == 0


def test_the_log_of_a_bundle_says_which_of_its_files_a_finding_is_in(tmp_path: Path) -> None:
    graph = CheckedGraph("trt weak/int8.onnx", "int8", lint(broken(WEAK, zero_points(np.int8(3))), TRT103))
    log = sarif([graph], path=tmp_path, version="1")
    places = {
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in log["runs"][0]["results"]
    }
    # SARIF 2.1.0, 3.4.3: uri is a URI reference of RFC 3986, in which no space stands.
    assert places == {f"{tmp_path.as_posix()}/trt%20weak/int8.onnx"}


def test_a_file_without_a_network_is_refused_and_not_found_good(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()  # to protobuf an empty file is a valid message
    with pytest.raises(UsageError, match=r"empty\.onnx is no ONNX network"):
        graphs_of(tmp_path / "empty.onnx", TRT103, None)


def test_a_version_that_came_after_the_rules_is_not_found_good() -> None:
    assert {finding.rule for finding in lint(STRONG, find_target("trt12.1"), precision="int8")} == {"unknown-version"}
    assert lint(STRONG, find_target("trt11.4"), precision="int8") == []


def test_unknown_old_and_known_bad_targets_are_refused() -> None:
    for text, said in (
        ("jetpack6.5", "did you mean"),
        ("jetpack4.6", "too old to run here"),
        ("trt10.2.0", "known to fail"),
        ("trt11.3@sm87", "no Jetson is supported"),
        ("trtx", "not understood"),
    ):
        with pytest.raises(UsageError, match=said):
            find_target(text)
    with pytest.raises(UsageError, match=r"there are: jetpack5\.1, "):
        find_target("jetpack9")


def test_a_verdict_counts_the_worst_finding() -> None:
    def finding(level: Any) -> Finding:
        return Finding("rule", level, None, "m", "r", "s")

    assert verdict([]) == "ok"
    assert verdict([finding("note")]) == "ok"
    assert verdict([finding("note"), finding("warning")]) == "doubtful"
    assert verdict([finding("warning"), finding("error")]) == "fails"
