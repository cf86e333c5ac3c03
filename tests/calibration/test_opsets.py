from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.calibration.graphs import Array, run

from edgewright.calibration.network import opset_of
from edgewright.calibration.opsets import for_old_parsers, to_opset
from edgewright.runtime.errors import CalibrationError

X: Array = np.random.default_rng(0).normal(size=(1, 4, 8, 8)).astype(np.float32)


def model(
    op: str, opset: int, *constants: Any, shape: tuple[int, ...], outputs: int = 1, **attributes: Any
) -> onnx.ModelProto:
    """One node on [1, 4, 8, 8]; None among the constants is an input that is left out."""
    names = [f"c{i}" if value is not None else "" for i, value in enumerate(constants)]
    made = [f"output{i or ''}" for i in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op, ["images", *names], made, name="node", **attributes)],
        "graph",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name in made],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in zip(names, constants, strict=True) if v is not None],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


AXES = np.array([2, 3])
CASES = {
    "ReduceMean": model("ReduceMean", 20, AXES, shape=(1, 4, 1, 1), keepdims=1),
    "Split": model("Split", 20, shape=(1, 2, 8, 8), outputs=2, axis=1, num_outputs=2),
    "Resize": model(
        "Resize", 20, None, None, np.array([1, 4, 16, 16]), shape=(1, 4, 16, 16), mode="linear", antialias=0
    ),
    "Pad": model("Pad", 20, np.array([0, 0, 1, 1, 0, 0, 1, 1]), shape=(1, 4, 10, 10), mode="reflect"),
    "AveragePool": model("AveragePool", 20, shape=(1, 4, 4, 4), kernel_shape=[2, 2], strides=[2, 2], dilations=[1, 1]),
    "Gelu": model("Gelu", 20, shape=(1, 4, 8, 8)),
    "GridSample": model(
        "GridSample",
        20,
        np.random.default_rng(1).uniform(-1, 1, (1, 5, 6, 2)).astype(np.float32),
        shape=(1, 4, 5, 6),
        mode="linear",
        align_corners=0,
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_a_node_of_opset_20_does_the_same_in_17(name: str) -> None:
    lowered = to_opset(CASES[name], 17)
    assert opset_of(lowered) == 17
    onnx.checker.check_model(lowered, full_check=True)
    wanted, got = run(CASES[name], X), run(lowered, X)
    for key in wanted:
        np.testing.assert_allclose(got[key], wanted[key], atol=1e-6)


def test_raising_keeps_the_numbers() -> None:
    low = to_opset(CASES["ReduceMean"], 17)
    raised = to_opset(low, 19)
    assert opset_of(raised) == 19
    np.testing.assert_allclose(run(raised, X)["output"], run(low, X)["output"], atol=1e-6)


def test_what_an_older_opset_cannot_say_names_the_node_and_the_reason() -> None:
    antialiased = model(
        "Resize", 20, None, None, np.array([1, 4, 4, 4]), shape=(1, 4, 4, 4), mode="linear", antialias=1
    )
    with pytest.raises(CalibrationError, match="node 'node' resizes with antialias"):
        to_opset(antialiased, 17)


def test_an_opset_that_nobody_lowered_is_refused() -> None:
    with pytest.raises(CalibrationError, match="cannot be lowered to 13"):
        to_opset(CASES["Pad"], 13)


@pytest.mark.parametrize(
    ("late", "plain"),
    [
        (model("HardSwish", 17, shape=(1, 4, 8, 8)), ["HardSigmoid", "Mul"]),
        (model("Trilu", 17, shape=(1, 4, 8, 8)), ["Mul"]),
        (model("Trilu", 17, np.array(1), shape=(1, 4, 8, 8), upper=1), ["Mul"]),
        (model("Trilu", 17, np.array(-2), shape=(1, 4, 8, 8), upper=0), ["Mul"]),
    ],
)
def test_what_only_later_versions_read_is_written_as_products(late: onnx.ModelProto, plain: list[str]) -> None:
    older = for_old_parsers(late)
    assert [node.op_type for node in older.graph.node] == plain
    onnx.checker.check_model(older, full_check=True)
    np.testing.assert_allclose(run(older, X)["output"], run(late, X)["output"], atol=1e-6)
