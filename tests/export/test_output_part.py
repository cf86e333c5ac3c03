"""Parts of outputs against NumPy's own indexing."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import save_constant_network

from edgewright.export.graph_editor import GraphEditor, read_onnx
from edgewright.export.output_part import Part, output_part, wrong_shape
from edgewright.runtime.errors import UsageError

VALUES = np.arange(2 * 5 * 7, dtype=np.float32).reshape(2, 5, 7)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_constant_network(tmp_path_factory.mktemp("net") / "net.onnx", {"out": VALUES, "odd[0]": VALUES[:, :1]})


def indices(size: int) -> st.SearchStrategy[str]:
    bounds = st.one_of(st.just(""), st.integers(-size - 1, size + 1).map(str))
    return st.one_of(st.builds("{}:{}".format, bounds, bounds), st.integers(-size, size - 1).map(str))


@given(st.tuples(indices(2), indices(5), indices(7)), st.integers(1, 3))
def test_an_index_means_what_it_means_in_numpy(network: Path, parts: tuple[str, ...], count: int) -> None:
    text = ", ".join(parts[:count])
    wanted = eval(f"VALUES[{text}]", {"VALUES": VALUES})
    graph = GraphEditor(read_onnx(network), "net.onnx")
    if wanted.size == 0:
        with pytest.raises(UsageError, match="nothing of out"):
            output_part(graph, f"out[{text}]")
        return
    part = output_part(graph, f"out[{text}]")
    assert part.shape == wanted.shape
    graph.set_outputs({"part": (part.name, part.shape)})
    session = onnxruntime.InferenceSession(graph.model.SerializeToString())
    np.testing.assert_array_equal(session.run(None, {"images": np.zeros((1, 3, 64, 64), np.float32)})[0], wanted)


def test_a_shape_that_is_merely_not_written_down_is_no_fault_of_an_operator(network: Path) -> None:
    graph = GraphEditor(read_onnx(network), "net.onnx")
    error = wrong_shape(graph, "boxes", Part("out", (1, -1, 7), "out", False), "[1, N, 4]")
    assert "a shape that the graph leaves open (?) often becomes known by onnxslim" in str(error)


def test_an_output_may_have_brackets_in_its_name(network: Path) -> None:
    graph = GraphEditor(read_onnx(network), "net.onnx")
    assert output_part(graph, "odd[0]").shape == (2, 1, 7)
    assert output_part(graph, "odd[0][:, 0]").shape == (2, 7)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("put", r"net.onnx has no output 'put' \(did you mean 'out'\?\); there are: out, odd\[0\]"),
        ("out[:, :, :, 1]", r"has 4 indices, out of net.onnx is \[2, 5, 7\]"),
        ("out[:, 4-8]", "'4-8' is no index; write output"),
        ("out[]", "'' is no index"),
        ("out[:, ::2]", "'::2' is no index"),
        ("out[:, 9]", r"nothing of out \[2, 5, 7\] lies within \[9\]"),
    ],
)
def test_what_is_no_part_of_an_output_is_refused(network: Path, text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        output_part(GraphEditor(read_onnx(network), "net.onnx"), text)
