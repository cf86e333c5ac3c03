"""Bundles whose batch is opened: what follows, what is proven, and what is refused."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from tests.tiny import save_graph, tiny_bundle

from edgewright.export.batch_axis import with_open_batch
from edgewright.export.open_batch import open_batch
from edgewright.pipeline.verify import verify
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import ExportError, ParityError, UsageError
from edgewright.runtime.spec import BATCH, TilingSpec

Nodes = list[onnx.NodeProto]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("opened"))


def test_every_row_is_proven_in_every_engine_and_the_golden_tensors_stay_true(bundle: Bundle, tmp_path: Path) -> None:
    opened = open_batch(bundle, tmp_path / "opened")
    assert [tensor.shape[0] for tensor in (*opened.spec.inputs, *opened.spec.outputs)] == [BATCH] * 3
    assert opened.manifest.batch is not None
    proofs = opened.manifest.batch.backends
    assert [proof.backend for proof in proofs] == ["ort", "ov"]
    # ONNX Runtime computes the images of a batch one after the other, in the same way.
    assert proofs[0].tensors == {"boxes": 0.0, "scores": 0.0}
    assert all(0 <= error < 1e-3 for error in proofs[1].tensors.values())
    for backend in ("ort", "ov"):
        assert all(check.passed for check in verify(opened, backend=backend, precision="fp32"))
    assert opened.digest != bundle.digest


def graph_with(folder: Path, nodes: Nodes, constants: dict[str, Any], output: tuple[str, list[Any]]) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    path = save_graph(folder / "graph.onnx", nodes, initializers, ("images", [1, 4, 6, 6]), [output])
    return onnx.load(str(path))


def rows_and_alone(model: onnx.ModelProto, opened: onnx.ModelProto) -> tuple[Any, Any]:
    """The output for three images together, and for each alone."""
    images = np.random.default_rng(3).normal(size=(3, 4, 6, 6)).astype(np.float32)
    sessions = [
        onnxruntime.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"])
        for one in (opened, model)
    ]
    together = sessions[0].run(None, {"images": images})[0]
    alone = [sessions[1].run(None, {"images": images[i : i + 1]})[0] for i in range(3)]
    return together, np.concatenate(alone)


def shuffled(folder: Path) -> onnx.ModelProto:
    """Channels shuffled as ShuffleNetV2 does: the batch is within the first dimension, then the second one."""
    nodes = [
        helper.make_node("Reshape", ["images", "pairs"], ["paired"]),
        helper.make_node("Transpose", ["paired"], ["turned"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["turned", "halves"], ["halved"]),
        helper.make_node("Gather", ["halved", "second"], ["output"], axis=0),
    ]
    constants = {"pairs": [2, 2, 36], "halves": [2, -1, 2, 6, 6], "second": np.array(1, np.int64)}
    return graph_with(folder, nodes, constants, ("output", [1, 2, 6, 6]))


def attended(folder: Path) -> onnx.ModelProto:
    """Cells that look at one another, two heads a picture: the batch and the heads are one dimension on the way."""
    nodes = [
        helper.make_node("Reshape", ["images", "heads"], ["queries"]),
        helper.make_node("Transpose", ["queries"], ["keys"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["queries", "keys"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "queries"], ["mixed"]),
        helper.make_node("Reshape", ["mixed", "whole"], ["output"]),
    ]
    return graph_with(folder, nodes, {"heads": [2, 2, 36], "whole": [1, 4, 6, 6]}, ("output", [1, 4, 6, 6]))


def resized(folder: Path) -> onnx.ModelProto:
    """A size that was told with its batch."""
    nodes = [helper.make_node("Resize", ["images", "", "", "size"], ["output"], mode="linear")]
    return graph_with(folder, nodes, {"size": np.array([1, 4, 9, 15], np.int64)}, ("output", [1, 4, 9, 15]))


@pytest.mark.parametrize("make", [shuffled, attended, resized])
def test_constants_that_hold_the_batch_follow_it_wherever_it_is(
    make: Callable[[Path], onnx.ModelProto], tmp_path: Path
) -> None:
    model = make(tmp_path)
    opened = with_open_batch(model, "graph.onnx")
    assert opened.graph.input[0].type.tensor_type.shape.dim[0].dim_param == BATCH
    together, alone = rows_and_alone(model, opened)
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 0.1


def test_a_network_whose_images_look_at_each_other_is_refused_by_name_and_row(bundle: Bundle, tmp_path: Path) -> None:
    """A mean over the batch goes through every shape rule; only running it shows."""
    changed = tiny_bundle(tmp_path)
    path = changed.file("model.onnx")
    model = onnx.load(str(path))
    name = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["beside" if tensor == name else tensor for tensor in node.input]
    first = [
        helper.make_node("ReduceMean", [name], ["over"], axes=[0], keepdims=1),
        helper.make_node("Mul", ["over", "half"], ["part"]),
        helper.make_node("Mul", [name, "half"], ["own"]),
        helper.make_node("Add", ["own", "part"], ["beside"]),
    ]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*first, *rest])
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "half"))
    onnx.save(model, str(path))
    with pytest.raises(
        ParityError, match=r"output 'scores' differs for the image 'blank' as row 0 of a batch of model.onnx.*--streams"
    ):
        open_batch(changed, tmp_path / "opened")
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("operator", ["RoiAlign", "NonMaxSuppression"])
def test_operators_of_one_image_are_named(bundle: Bundle, tmp_path: Path, operator: str) -> None:
    model = onnx.load(str(bundle.file("model.onnx")))
    model.graph.node.append(helper.make_node(operator, ["a", "b", "c"], ["d"], name="regions"))
    with pytest.raises(ExportError, match=rf"regions \({operator}\) takes the regions of one image"):
        with_open_batch(model, "model.onnx")


def test_a_reshape_that_mixes_the_batch_is_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["images"], ["turned"], perm=[1, 0, 2, 3]),
        helper.make_node("Reshape", ["turned", "mixed"], ["output"], name="mixer"),
    ]
    model = graph_with(tmp_path, nodes, {"mixed": [3, 48]}, ("output", [3, 48]))
    with pytest.raises(ExportError, match=r"mixer \(Reshape\) mixes the batch with what lies before it"):
        with_open_batch(model, "graph.onnx")


def test_what_is_not_run_on_whole_images_alone_keeps_its_batch(bundle: Bundle, tmp_path: Path) -> None:
    opened = open_batch(bundle, tmp_path / "opened")
    with pytest.raises(UsageError, match="has an open batch already; run it with --batch N"):
        open_batch(opened, tmp_path / "again")
    tiled = bundle.manifest.spec.model_copy(update={"tiling": TilingSpec(overlap_px=8)})
    other = Bundle(bundle.path, bundle.manifest.model_copy(update={"spec": tiled}))
    with pytest.raises(UsageError, match="tiles of one image after another, so its batch stays 1"):
        open_batch(other, tmp_path / "tiled")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["opened"]


def test_a_file_that_only_openvino_loads_but_cannot_run_is_recorded(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from edgewright.runtime.errors import BackendError

    def refuses(path: Path, options: Any) -> None:
        raise BackendError("OpenVINO cannot load it")

    monkeypatch.setattr("edgewright.runtime.backends.ov.open_backend", refuses)
    with caplog.at_level(logging.WARNING):
        opened = open_batch(bundle, tmp_path / "opened")
    assert opened.manifest.batch is not None
    assert opened.manifest.batch.backends[1].problem == "OpenVINO cannot load it"
    assert "in backend 'ov' are not proven" in caplog.text
