"""What each family appends to an ONNX graph, against a decoding written out in NumPy, and its refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.tiny import LABELS, save_blue_blob_yolox, save_constant_network, save_graph

from edgewright.export.families import load_family
from edgewright.export.from_onnx import import_onnx
from edgewright.export.graph_editor import read_onnx
from edgewright.export.request import ExportRequest
from edgewright.runtime import plugins
from edgewright.runtime.backends import BackendOptions, open_backend
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import EdgeError, ExportError, UsageError


def labels_file(folder: Path, count: int) -> str:
    path = folder / "labels.txt"
    path.write_text("\n".join(f"class {index}" for index in range(count)))
    return str(path)


def imported(
    folder: Path, family: str, outputs: dict[str, Any], classes: int, **changes: Any
) -> tuple[Bundle, dict[str, Any]]:
    """The bundle of a network with these constant raw outputs, and what its model gives."""
    shape = changes.pop("shape", (1, 3, 64, 64))
    source = save_constant_network(folder / "net.onnx", outputs, shape=shape)
    request = ExportRequest(source=str(source), family=family, labels=labels_file(folder, classes), **changes)
    bundle = import_onnx(request, folder / "bundle")
    with open_backend("ort", bundle.file("model.onnx"), BackendOptions(threads=1)) as backend:
        return bundle, backend.infer({"images": np.zeros(bundle.spec.preprocess.tensor_shape, np.float32)})


def cells(strides: tuple[int, ...], size: int = 64) -> list[tuple[int, int, int]]:
    """(x, y, stride) of every cell, by plain loops."""
    return [(x, y, s) for s in strides for y in range(size // s) for x in range(size // s)]


def test_yolox_decodes_like_its_paper(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grid = cells((8, 16, 32))
    raw = rng.uniform(0, 1, (1, len(grid), 8)).astype(np.float32)
    bundle, got = imported(tmp_path, "yolox", {"output": raw}, classes=3)
    for row, (x, y, s) in enumerate(grid):
        dx, dy, lw, lh, objectness, *classes = raw[0, row]
        box = [(x + dx) * s, (y + dy) * s, np.exp(lw) * s, np.exp(lh) * s]
        np.testing.assert_allclose(got["boxes"][0, row], box, rtol=1e-5)
        np.testing.assert_allclose(got["scores"][0, row], np.array(classes) * objectness, rtol=1e-5)
    assert bundle.spec.head.boxes == "cxcywh_pixels"
    assert (bundle.spec.preprocess.color, bundle.spec.preprocess.scale) == ("bgr", 1.0)
    assert (bundle.spec.preprocess.resize, bundle.spec.preprocess.rounding) == ("letterbox_top_left", "floor")


def test_ultralytics_without_objectness_is_split_and_transposed(tmp_path: Path) -> None:
    raw = np.random.default_rng(1).uniform(0, 1, (1, 4 + 5, 84)).astype(np.float32)
    bundle, got = imported(tmp_path, "yolov8", {"output0": raw}, classes=5)
    np.testing.assert_array_equal(got["boxes"][0], raw[0, :4].T)
    np.testing.assert_array_equal(got["scores"][0], raw[0, 4:].T)
    assert (bundle.spec.preprocess.color, bundle.spec.preprocess.scale) == ("rgb", 1 / 255)


def test_ultralytics_with_objectness_multiplies_it_in(tmp_path: Path) -> None:
    raw = np.random.default_rng(2).uniform(0, 1, (1, 3 * 84, 5 + 2)).astype(np.float32)
    _, got = imported(tmp_path, "yolov5", {"output0": raw}, classes=2)
    np.testing.assert_array_equal(got["boxes"][0], raw[0, :, :4])
    np.testing.assert_allclose(got["scores"][0], raw[0, :, 5:] * raw[0, :, 4:5], rtol=1e-6)


def test_ultralytics_with_nms_inside_becomes_a_final_head(tmp_path: Path) -> None:
    raw = np.random.default_rng(3).uniform(0, 1, (1, 300, 6)).astype(np.float32)
    raw[0, :, 5] = np.arange(300) % 4
    bundle, got = imported(tmp_path, "ultralytics", {"output0": raw}, classes=4)
    assert bundle.spec.head.kind == "final"
    np.testing.assert_array_equal(got["boxes"][0], raw[0, :, :4])
    np.testing.assert_array_equal(got["scores"][0], raw[0, :, 4])
    np.testing.assert_array_equal(got["classes"][0], raw[0, :, 5])


def test_fastestdet_decodes_like_its_repository(tmp_path: Path) -> None:
    raw = np.random.default_rng(4).uniform(0, 1, (1, 5 + 3, 4, 4)).astype(np.float32)
    bundle, got = imported(tmp_path, "fastestdet", {"out": raw}, classes=3)
    for row, (x, y, _) in enumerate(cells((16,))):
        objectness, tx, ty, tw, th, *classes = raw[0, :, y, x]
        box = [(x + np.tanh(tx)) / 4, (y + np.tanh(ty)) / 4, 1 / (1 + np.exp(-tw)), 1 / (1 + np.exp(-th))]
        np.testing.assert_allclose(got["boxes"][0, row], box, rtol=1e-5)
        np.testing.assert_allclose(got["scores"][0, row], objectness**0.6 * np.array(classes) ** 0.4, rtol=1e-5)
    assert bundle.spec.head.boxes == "cxcywh_unit"


def test_nanodet_decodes_distributions_to_distances(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    grid = cells((8, 16, 32, 64))
    raw = np.concatenate([rng.uniform(0, 1, (1, len(grid), 3)), rng.normal(0, 2, (1, len(grid), 32))], axis=2)
    bundle, got = imported(tmp_path, "nanodet", {"output": raw.astype(np.float32)}, classes=3)
    for row, (x, y, s) in enumerate(grid):
        logits = raw[0, row, 3:].reshape(4, 8)
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        left, top, right, bottom = (shares * np.arange(8)).sum(axis=1) * s
        box = [x * s - left, y * s - top, x * s + right, y * s + bottom]
        np.testing.assert_allclose(got["boxes"][0, row], box, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got["scores"][0], raw[0, :, :3], rtol=1e-6)
    assert bundle.spec.head.boxes == "xyxy_pixels"


def test_a_float64_output_is_cast(tmp_path: Path, assets: Path) -> None:
    source = assets / "models" / "yolov8n.onnx"
    bundle = import_onnx(ExportRequest(source=str(source), family="yolov8", labels="coco80"), tmp_path / "bundle")
    assert {(t.name, t.shape, t.dtype) for t in bundle.spec.outputs} == {
        ("boxes", (1, 8400, 4), "float32"),
        ("scores", (1, 8400, 80), "float32"),
    }


# Published figures: YOLOX repository, model zoo (nano: 0.91 M, 1.08 G at 416); Ultralytics, YOLOv8 page (n: 3.2 M, 8.7 G at 640).
# They count biases and batch normalisation too, hence the tolerance.
@pytest.mark.parametrize(
    ("model", "family", "parameters", "gflops"),
    [("yolox_nano", "yolox", 0.91e6, 1.08), ("yolov8n", "yolov8", 3.2e6, 8.7)],
)
def test_parameters_and_gflops_are_the_published_ones(
    model: str, family: str, parameters: float, gflops: float, assets: Path, tmp_path: Path
) -> None:
    request = ExportRequest(source=str(assets / "models" / f"{model}.onnx"), family=family, labels="coco80")
    size = import_onnx(request, tmp_path / "bundle").manifest.complexity
    assert size is not None
    assert size.gflops == pytest.approx(gflops, rel=0.04)
    assert size.parameters == pytest.approx(parameters, rel=0.03)


def test_an_open_input_size_is_fixed_at_the_wished_one(tmp_path: Path) -> None:
    raw = np.zeros((1, 9, 84), np.float32)
    bundle, _ = imported(tmp_path, "yolov8", {"output0": raw}, classes=5, shape=("batch", 3, "h", "w"), size=(64, 64))
    assert bundle.spec.inputs[0].shape == (1, 3, 64, 64)


@pytest.mark.parametrize(
    ("family", "outputs", "said"),
    [
        ("yolox", {"o": np.zeros((1, 50, 8))}, r"output 'o' is \[1, 50, 8\], family yolox at 64x64 wants"),
        ("yolov8", {"o": np.zeros((1, 50, 8))}, "family ultralytics at 64x64 wants"),
        ("fastestdet", {"o": np.zeros((1, 8, 5, 4))}, r"classes, 4, 4\]"),
        ("nanodet", {"o": np.zeros((1, 85, 20))}, "family nanodet at 64x64 wants"),
        ("yolox", {"a": np.zeros((1, 84, 8)), "b": np.zeros((1, 4))}, "wants one output"),
        ("yolov8", {"o": np.full((1, 8, 84), 7.0)}, "ranges from 7 to 7 .* probabilities"),
        ("yolov8", {"o": np.full((1, 8, 84), np.nan)}, "holds NaN"),
    ],
)
def test_outputs_that_do_not_fit_the_family_are_refused(
    family: str, outputs: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=said):
        imported(tmp_path, family, outputs, classes=4 if family == "yolov8" else 3)
    assert not (tmp_path / "bundle").exists()


def test_labels_that_do_not_fit_the_graph_are_counted(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has 5 labels, net\.onnx has 3 classes"):
        imported(tmp_path, "yolox", {"output": np.zeros((1, 84, 8))}, classes=5)


def test_missing_labels_and_families_say_which_option_gives_them(tmp_path: Path) -> None:
    source = str(save_blue_blob_yolox(tmp_path / "blob.onnx"))
    with pytest.raises(UsageError, match="3 classes; pass --labels"):
        import_onnx(ExportRequest(source=source, family="yolox"), tmp_path / "bundle")
    with pytest.raises(UsageError, match=r"name its family with --family, one of: .*yolox"):
        import_onnx(ExportRequest(source=source), tmp_path / "bundle")


def test_an_unknown_family_suggests_the_closest() -> None:
    with pytest.raises(UsageError, match="there is no family 'yolx' \\(did you mean 'yolox'\\?\\)"):
        load_family("yolx")


@pytest.mark.parametrize("alias", ["yolov5", "YOLOv8", "yolo11", "yolov7"])
def test_the_names_users_know_lead_to_the_ultralytics_family(alias: str) -> None:
    assert load_family(alias).__name__.endswith(".ultralytics")


def test_pre_processing_that_differs_from_the_family_can_be_given(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "color": "rgb",
        "scale": 1 / 255,
        "mean": (0.1, 0.2, 0.3),
        "std": (1, 2, 3),
        "conf_threshold": 0.4,
    }
    bundle, _ = imported(tmp_path, "yolox", {"output": np.zeros((1, 84, 8))}, classes=3, **changes)
    spec = bundle.spec
    assert (spec.preprocess.color, spec.preprocess.mean, spec.postprocess.conf_threshold) == (
        "rgb",
        (0.1, 0.2, 0.3),
        0.4,
    )


def test_pre_processing_of_another_shape_than_the_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"is \[1, 3, 64, 64\], the pre-processing gives \[1, 1, 64, 64\]"):
        imported(tmp_path, "yolox", {"output": np.zeros((1, 84, 8))}, classes=3, color="gray", mean=(0,), std=(1,))


def test_a_file_that_is_no_onnx_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"not a model")
    with pytest.raises(ExportError, match="not a valid ONNX file") as caught:
        import_onnx(
            ExportRequest(source=str(tmp_path / "net.onnx"), family="yolox", labels="coco80"), tmp_path / "bundle"
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_a_network_of_an_old_opset_computes_the_same_afterwards(tmp_path: Path, mode: str) -> None:
    """Upsample counts from corners; Resize, which took its place, from centres unless it is told otherwise."""
    nodes = [
        helper.make_node("AveragePool", ["images"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Upsample", ["small", "scales"], ["out"], mode=mode),
    ]
    scales = numpy_helper.from_array(np.array([1, 1, 3.3, 3.3], np.float32), "scales")
    shapes = ("images", [1, 3, 32, 32]), [("out", [1, 3, 26, 26])]
    path = save_graph(tmp_path / "net.onnx", nodes, [scales], *shapes, opset=9)
    image = np.random.default_rng(7).uniform(0, 1, (1, 3, 32, 32)).astype(np.float32)
    (tmp_path / "new.onnx").write_bytes(read_onnx(path).SerializeToString())
    outputs = []
    for name in ("net.onnx", "new.onnx"):
        with open_backend("ort", tmp_path / name, BackendOptions(threads=1)) as backend:
            outputs.append(backend.infer({"images": image})["out"].copy())
    np.testing.assert_array_equal(outputs[0], outputs[1])


def test_an_opset_that_cannot_be_converted_is_refused(tmp_path: Path) -> None:
    # Later opsets leave training to another operator.
    nodes = [helper.make_node("Dropout", ["images"], ["out"], is_test=0)]
    path = save_graph(tmp_path / "net.onnx", nodes, [], ("images", [1, 3, 8, 8]), [("out", [1, 3, 8, 8])], opset=6)
    with pytest.raises(ExportError, match="opset 6, at least 11 is wanted, and it cannot be converted"):
        import_onnx(ExportRequest(source=str(path), family="yolox", labels="coco80"), tmp_path / "bundle")


def test_a_graph_that_already_uses_the_public_names_is_imported(tmp_path: Path) -> None:
    raw = np.random.default_rng(6).uniform(0, 1, (1, 9, 84)).astype(np.float32)
    bundle, got = imported(tmp_path, "yolov8", {"boxes": raw}, classes=5)
    np.testing.assert_array_equal(got["boxes"][0], raw[0, :4].T)
    assert {t.name for t in bundle.spec.outputs} == {"boxes", "scores"}


def test_every_family_for_onnx_files_says_what_it_expects() -> None:
    for name in plugins.names("edgewright.export.families"):
        module = load_family(name)
        if hasattr(module, "import_onnx"):
            assert module.EXPECTS


def test_the_blob_network_has_its_labels(tmp_path: Path) -> None:
    from tests.tiny import tiny_bundle

    assert tiny_bundle(tmp_path).spec.labels == LABELS


def test_a_name_that_a_subgraph_reads_is_renamed_there_too(tmp_path: Path) -> None:
    raw = np.random.default_rng(8).uniform(0, 1, (1, 9, 84)).astype(np.float32)
    branches = [
        helper.make_graph(
            [helper.make_node("Identity", ["scores"], [f"{name}_out"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, raw.shape)],
        )
        for name in ("then", "other")
    ]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nought"], ["nothing"]),
        helper.make_node("Add", ["raw", "nothing"], ["scores"]),
        helper.make_node("If", ["yes"], ["output0"], then_branch=branches[0], else_branch=branches[1]),
    ]
    values = {"raw": raw, "nought": np.array(0, np.float32), "yes": np.array(True)}
    initializers = [numpy_helper.from_array(value, name) for name, value in values.items()]
    source = save_graph(
        tmp_path / "net.onnx", nodes, initializers, ("images", [1, 3, 64, 64]), [("output0", list(raw.shape))]
    )
    request = ExportRequest(source=str(source), family="yolov8", labels=labels_file(tmp_path, 5))
    bundle = import_onnx(request, tmp_path / "bundle")
    with open_backend("ort", bundle.file("model.onnx"), BackendOptions(threads=1)) as backend:
        got = backend.infer({"images": np.zeros((1, 3, 64, 64), np.float32)})
    np.testing.assert_array_equal(got["scores"][0], raw[0, 4:].T)
