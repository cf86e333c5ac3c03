"""Networks that a recipe describes, against the same steps in NumPy; and what is said of a description that does not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.tiny import save_constant_network, save_graph

from edgewright.export.from_onnx import import_onnx
from edgewright.export.request import ExportRequest
from edgewright.runtime.backends import BackendOptions, open_backend
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import EdgeError, ExportError, UsageError
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.results import SemanticMap

FED: dict[str, Any] = {"color": "rgb", "resize": "stretch", "scale": 1.0}
BOXES = np.random.default_rng(0).uniform(0, 1, (1, 7, 4)).astype(np.float32)
SCORES = np.random.default_rng(1).uniform(0, 1, (1, 7, 5)).astype(np.float32)


def save_typed_network(path: Path, outputs: dict[str, Any], shape: tuple[Any, ...] = (1, 3, 64, 64)) -> Path:
    """A network that answers every picture with these outputs, in their own types."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nought"], ["nothing"]),
    ]
    constants = [numpy_helper.from_array(np.array(0, np.float32), "nought")]
    infos = []
    for name, value in outputs.items():
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        constants.append(numpy_helper.from_array(value, f"raw_{name}"))
        nodes.append(helper.make_node("Cast", ["nothing"], [f"no_{name}"], to=kind))
        nodes.append(helper.make_node("Add", [f"raw_{name}", f"no_{name}"], [name]))
        infos.append(helper.make_tensor_value_info(name, kind, value.shape))
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "tiny", [image], infos, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def described(folder: Path, outputs: dict[str, Any], labels: int, **keys: Any) -> tuple[Bundle, dict[str, Any]]:
    """The bundle of a network with these constant outputs, and what its model gives."""
    source = save_typed_network(folder / "net.onnx", outputs, keys.pop("shape", (1, 3, 64, 64)))
    return bundle_and_outputs(folder, source, labels, **keys)


def bundle_and_outputs(folder: Path, source: Path, labels: int, **keys: Any) -> tuple[Bundle, dict[str, Any]]:
    (folder / "labels.txt").write_text("\n".join(f"class {number}" for number in range(labels)))
    request = ExportRequest(source=str(source), family="generic", labels=str(folder / "labels.txt"), **{**FED, **keys})
    bundle = import_onnx(request, folder / "bundle")
    with open_backend("ort", bundle.file("model.onnx"), BackendOptions(threads=1)) as backend:
        spec = bundle.spec.preprocess
        return bundle, backend.infer({bundle.spec.inputs[0].name: np.zeros(spec.tensor_shape, spec.dtype)})


def softmax(logits: Any, axis: int) -> Any:
    powers = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def test_outputs_named_as_their_roles_need_no_further_word(tmp_path: Path) -> None:
    bundle, got = described(tmp_path, {"boxes": BOXES, "scores": SCORES}, 5, head="dense", box_format="xyxy_unit")
    np.testing.assert_array_equal(got["boxes"], BOXES)
    np.testing.assert_array_equal(got["scores"], SCORES)
    assert (bundle.spec.task, bundle.spec.head.kind, bundle.spec.head.boxes) == ("detect", "dense", "xyxy_unit")


def test_outputs_may_carry_each_others_names(tmp_path: Path) -> None:
    keys = {"head": "dense", "box_format": "xyxy_unit", "boxes_output": "scores", "scores_output": "boxes"}
    _, got = described(tmp_path, {"scores": BOXES, "boxes": SCORES}, 5, **keys)
    np.testing.assert_array_equal(got["boxes"], BOXES)
    np.testing.assert_array_equal(got["scores"], SCORES)


@pytest.mark.parametrize("boxes", [BOXES, BOXES.transpose(0, 2, 1), BOXES[:, :, None], BOXES[0]])
@pytest.mark.parametrize("scores", [SCORES, SCORES.transpose(0, 2, 1), SCORES[0]])
def test_rows_are_found_in_either_order_and_without_a_batch(tmp_path: Path, boxes: Any, scores: Any) -> None:
    outputs = {"b": boxes.copy(), "s": scores.copy()}
    keys = {"head": "dense", "box_format": "cxcywh_pixels", "boxes_output": "b", "scores_output": "s"}
    bundle, got = described(tmp_path, outputs, 5, **keys)
    np.testing.assert_array_equal(got["boxes"], BOXES)
    np.testing.assert_array_equal(got["scores"], SCORES)
    assert bundle.spec.head.boxes == "cxcywh_pixels"


def test_one_class_may_lack_its_dimension(tmp_path: Path) -> None:
    _, got = described(tmp_path, {"boxes": BOXES, "scores": SCORES[..., 0]}, 1, head="dense", box_format="xyxy_unit")
    np.testing.assert_array_equal(got["scores"], SCORES[..., :1])


@pytest.mark.parametrize(
    ("box_format", "order", "kind"),
    [("yxyx_unit", [1, 0, 3, 2], "xyxy_unit"), ("yxyx_pixels", [1, 0, 3, 2], "xyxy_pixels")],
)
def test_corners_in_row_column_order_are_turned(tmp_path: Path, box_format: Any, order: list[int], kind: str) -> None:
    bundle, got = described(tmp_path, {"boxes": BOXES, "scores": SCORES}, 5, head="dense", box_format=box_format)
    np.testing.assert_array_equal(got["boxes"], BOXES[..., order])
    assert bundle.spec.head.boxes == kind


def test_corner_and_size_become_two_corners(tmp_path: Path) -> None:
    bundle, got = described(tmp_path, {"boxes": BOXES, "scores": SCORES}, 5, head="dense", box_format="xywh_pixels")
    np.testing.assert_allclose(got["boxes"], np.concatenate([BOXES[..., :2], BOXES[..., :2] + BOXES[..., 2:]], axis=2))
    assert bundle.spec.head.boxes == "xyxy_pixels"


@pytest.mark.parametrize(
    ("activation", "function"), [("sigmoid", lambda x: 1 / (1 + np.exp(-x))), ("softmax", lambda x: softmax(x, 2))]
)
def test_scores_become_probabilities_before_classes_are_chosen(tmp_path: Path, activation: Any, function: Any) -> None:
    logits = np.random.default_rng(2).normal(0, 3, (1, 7, 5)).astype(np.float32)
    keys = {"head": "dense", "box_format": "xyxy_unit", "activation": activation, "background_index": 0}
    _, got = described(tmp_path, {"boxes": BOXES, "scores": logits}, 4, **keys)
    np.testing.assert_allclose(got["scores"], function(logits)[..., 1:], atol=1e-6)


@pytest.mark.parametrize("class_map", [(1, 2, 3), (4, 0, 2)])
def test_a_class_map_chooses_and_orders_classes(tmp_path: Path, class_map: tuple[int, ...]) -> None:
    keys = {"head": "dense", "box_format": "xyxy_unit", "class_map": class_map}
    _, got = described(tmp_path, {"boxes": BOXES, "scores": SCORES}, 3, **keys)
    np.testing.assert_array_equal(got["scores"], SCORES[..., class_map])


def test_parts_of_one_output_with_objectness(tmp_path: Path) -> None:
    rows = np.concatenate([BOXES, SCORES], axis=2)
    keys = {
        "head": "dense",
        "box_format": "cxcywh_unit",
        "boxes_output": "out[:, :, :4]",
        "objectness_output": "out[:, :, 4]",
        "scores_output": "out[:, :, 5:]",
    }
    _, got = described(tmp_path, {"out": rows}, 4, **keys)
    np.testing.assert_array_equal(got["boxes"], BOXES)
    np.testing.assert_allclose(got["scores"], rows[..., 5:] * rows[..., 4:5], rtol=1e-6)


def test_finished_detections_as_openvino_and_caffe_give_them(tmp_path: Path) -> None:
    """[1, 1, K, 7]: image, class from 1 with 0 for the background, score, corners."""
    rows = np.zeros((1, 1, 6, 7), np.float32)
    rows[0, 0, :, 1] = [3, 1, 2, 0, 7, -1]
    rows[0, 0, :, 2] = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    rows[0, 0, :, 3:] = [0.1, 0.2, 0.5, 0.6]
    keys = {
        "head": "final",
        "box_format": "xyxy_unit",
        "boxes_output": "detections[0, 0, :, 3:7]",
        "scores_output": "detections[0, 0, :, 2]",
        "classes_output": "detections[0, 0, :, 1]",
        "background_index": 0,
    }
    bundle, got = described(tmp_path, {"detections": rows}, 3, **keys)
    # 3 is outside the three labels: background, an unknown number and a padded row.
    assert got["classes"].tolist() == [[2, 0, 1, 3, 3, 3]]
    np.testing.assert_array_equal(got["scores"], rows[0, 0, None, :, 2])
    np.testing.assert_array_equal(got["boxes"], rows[0, 0, None, :, 3:])
    with open_predictor(bundle) as predictor:
        assert predictor(np.zeros((64, 64, 3), np.uint8)).class_ids.tolist() == [2, 0, 1]  # type: ignore[union-attr]


def test_a_count_and_integer_classes_are_taken_over(tmp_path: Path) -> None:
    outputs = {
        "boxes": BOXES,
        "scores": SCORES[..., 0].copy(),
        "classes": np.array([[0, 1, 2, 1, 0, 2, 1]], np.int64),
        "n": np.array([[4]], np.int64),
    }
    keys = {"head": "final", "box_format": "xyxy_unit", "count_output": "n"}
    bundle, got = described(tmp_path, outputs, 3, **keys)
    np.testing.assert_array_equal(got["classes"], outputs["classes"])
    assert got["count"].tolist() == [4]
    assert {t.name: t.dtype for t in bundle.spec.outputs}["classes"] == "int32"


def test_prototypes_of_either_layout(tmp_path: Path) -> None:
    coefficients = np.random.default_rng(3).normal(size=(1, 7, 6)).astype(np.float32)
    prototypes = np.random.default_rng(4).normal(size=(1, 16, 20, 6)).astype(np.float32)
    outputs = {"boxes": BOXES, "scores": SCORES, "coefficients": coefficients, "prototypes": prototypes}
    keys = {"head": "prototypes", "box_format": "xyxy_unit", "output_layout": "nhwc"}
    bundle, got = described(tmp_path, outputs, 5, **keys)
    np.testing.assert_array_equal(got["prototypes"], prototypes.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(got["coefficients"], coefficients)
    assert bundle.spec.task == "instance"


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_class_planes_are_chosen_and_brought_into_one_layout(tmp_path: Path, layout: Any) -> None:
    planes = np.random.default_rng(5).normal(size=(1, 5, 16, 20)).astype(np.float32)
    out = planes if layout == "nchw" else planes.transpose(0, 2, 3, 1).copy()
    shape = (1, 3, 64, 80) if layout == "nchw" else (1, 64, 80, 3)
    keys = {"head": "semantic", "layout": layout, "class_map": (4, 1, 2), "background_index": 1, "shape": shape}
    bundle, got = described(tmp_path, {"anything": out}, 3, **keys)
    np.testing.assert_array_equal(got["logits"], planes[:, [4, 1, 2]])
    assert (bundle.spec.head.kind, bundle.spec.head.background_id, bundle.spec.task) == ("semantic", 1, "semantic")
    assert bundle.spec.preprocess.layout == layout


@pytest.mark.parametrize("backend", ["ort", "ov"])
def test_a_transpose_at_the_end_is_taken_back(tmp_path: Path, backend: str) -> None:
    weights = numpy_helper.from_array(np.eye(4, 3, dtype=np.float32)[:, :, None, None], "weights")
    nodes = [
        helper.make_node("Conv", ["images", "weights"], ["planes"]),
        helper.make_node("Transpose", ["planes"], ["last"], perm=[0, 2, 3, 1]),
    ]
    source = save_graph(tmp_path / "net.onnx", nodes, [weights], ("images", [1, 3, 8, 8]), [("last", [1, 8, 8, 4])])
    bundle, _ = bundle_and_outputs(tmp_path, source, 4, head="semantic", output_layout="nhwc")
    assert [node.op_type for node in onnx.load(str(bundle.file("model.onnx"))).graph.node] == ["Conv"]
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 2] = 200
    with open_predictor(bundle, backend=backend) as predictor:
        found = predictor(red)
    assert isinstance(found, SemanticMap)
    assert not found.class_ids.any()


def test_one_plane_is_the_probability_of_the_second_label(tmp_path: Path) -> None:
    logits = np.random.default_rng(6).normal(size=(1, 1, 8, 8)).astype(np.float32)
    bundle, got = described(tmp_path, {"mask": logits}, 2, head="semantic", activation="sigmoid")
    np.testing.assert_allclose(got["probability"], 1 / (1 + np.exp(-logits)), rtol=1e-5)
    assert bundle.spec.head.background_id == 0


def test_logits_instead_of_a_probability_are_refused(tmp_path: Path) -> None:
    logits = np.linspace(-3, 3, 64, dtype=np.float32).reshape(1, 1, 8, 8)
    with pytest.raises(ExportError, match=r"'probability' ranges from -3 to 3 .* probabilities from 0 to 1"):
        described(tmp_path, {"mask": logits}, 2, head="semantic")


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 1, 4, 4), (4, 4), (1, 4, 4, 1)])
def test_class_ids_of_any_integer_type_are_renumbered(tmp_path: Path, kind: Any, shape: tuple[int, ...]) -> None:
    ids = np.arange(16).astype(kind).reshape(shape)
    bundle, got = described(tmp_path, {"ids": ids}, 3, head="semantic", class_map=(7, 3, 12), background_index=3)
    wanted = np.full(16, 3)
    wanted[[7, 3, 12]] = 0, 1, 2
    np.testing.assert_array_equal(got["class_ids"], wanted.reshape(1, 4, 4))
    assert bundle.spec.head.background_id == 1
    with open_predictor(bundle) as predictor:
        found = predictor(np.zeros((4, 4, 3), np.uint8))
    assert isinstance(found, SemanticMap)
    np.testing.assert_array_equal(found.class_ids, wanted.reshape(4, 4))


def test_an_open_size_is_fixed_by_the_recipe(tmp_path: Path) -> None:
    source = save_constant_network(tmp_path / "net.onnx", {"out": np.ones((1, 2, 8, 8))}, shape=("n", 1, "h", "w"))
    keys: dict[str, Any] = {"head": "semantic", "color": "gray"}
    with pytest.raises(UsageError, match=r"leaves its size open; say it: size: \[480, 640\]"):
        bundle_and_outputs(tmp_path, source, 2, **keys)
    bundle, _ = bundle_and_outputs(tmp_path, source, 2, size=(8, 12), **keys)
    assert bundle.spec.inputs[0].shape == (1, 1, 8, 12)


@pytest.mark.parametrize("kind", [np.uint8, np.float16])
def test_the_input_is_fed_in_its_own_type(tmp_path: Path, kind: Any) -> None:
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Concat", ["mean", "mean"], ["planes"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", dtype, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("planes", TensorProto.FLOAT, [1, 2, 8, 8])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(tmp_path / "net.onnx")
    )
    bundle, _ = bundle_and_outputs(tmp_path, tmp_path / "net.onnx", 2, head="semantic")
    assert bundle.spec.preprocess.dtype == np.dtype(kind).name


@pytest.mark.parametrize(
    ("outputs", "keys", "sentence"),
    [
        ({"boxes": BOXES}, {"head": "dense"}, "say what their numbers mean with box_format"),
        (
            {"a": BOXES, "b": SCORES},
            {"head": "dense", "box_format": "xyxy_unit"},
            "head dense wants boxes, and no output of net.onnx is called so; say which one .* boxes_output: one of a, b",
        ),
        (
            {"boxes": BOXES[..., :3].copy(), "scores": SCORES},
            {"head": "dense", "box_format": "xyxy_unit"},
            r"boxes are read from 'boxes' of shape \[1, 7, 3\], wanted \[1, 7, 4\]",
        ),
        (
            {"boxes": BOXES, "scores": SCORES[:, :5].copy()},
            {"head": "dense", "box_format": "xyxy_unit"},
            r"scores are read from 'scores' of shape \[1, 5, 5\], wanted \[1, 7, C\]",
        ),
        (
            {"boxes": BOXES, "scores": SCORES},
            {"head": "dense", "box_format": "xyxy_unit", "class_map": (1, 9)},
            "class_map names class 9, net.onnx has 5 classes, from 0",
        ),
        (
            {"boxes": BOXES, "scores": SCORES},
            {"head": "dense", "box_format": "xyxy_unit", "background_index": 5},
            "background_index names class 5, net.onnx has 5 classes",
        ),
        (
            {"boxes": BOXES, "scores": SCORES, "coefficients": SCORES, "prototypes": np.ones((1, 6, 4, 4), np.float32)},
            {"head": "prototypes", "box_format": "xyxy_unit"},
            r"coefficients are read from 'coefficients' of shape \[1, 7, 5\], wanted \[1, 7, 6\]",
        ),
        (
            {"map": np.ones((1, 4, 4), np.float32)[0]},
            {"head": "semantic"},
            r"pixels are read from 'map' of shape \[4, 4\], wanted \[1, C, height, width\]",
        ),
        (
            {"map": np.ones((1, 2, 4, 4), np.int32)},
            {"head": "semantic"},
            r"pixels are read from 'map' of shape \[1, 2, 4, 4\], wanted class ids \[1, height, width\]",
        ),
        ({"boxes": BOXES}, {"head": "semantic", "layout": "nhwc"}, "has 64 channels as nhwc, color rgb gives 3"),
        ({"boxes": BOXES}, {"head": "semantic", "color": "gray"}, "has 3 channels as nchw, color gray gives 1"),
        (
            {"boxes": BOXES, "scores": SCORES},
            {"head": "dense", "box_format": "xyxy_unit", "count_output": "n", "pixels_output": "p"},
            "head dense does not read count_output, pixels_output; leave them out",
        ),
        (
            {"map": np.ones((1, 1, 4, 4), np.float32)},
            {"head": "semantic", "activation": "softmax"},
            "'map' holds one score at a time, of which softmax always makes 1; say activation: sigmoid",
        ),
        ({"map": BOXES}, {"head": "semantic", "pixels_output": "mop"}, r"no output 'mop' \(did you mean 'map'\?\)"),
    ],
)
def test_a_description_that_does_not_fit_says_what_was_wanted(
    tmp_path: Path, outputs: dict[str, Any], keys: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(EdgeError, match=sentence):
        described(tmp_path, outputs, 5, **keys)
    assert not (tmp_path / "bundle").exists()


def test_an_output_whose_size_depends_on_the_picture_says_what_to_do(tmp_path: Path) -> None:
    source = save_constant_network(tmp_path / "net.onnx", {"boxes": BOXES})
    model = onnx.load(str(source))
    model.graph.node.append(helper.make_node("NonZero", ["images"], ["bright"], name="look"))
    model.graph.node.append(helper.make_node("Transpose", ["bright"], ["where"], perm=[1, 0]))
    model.graph.output.append(helper.make_tensor_value_info("where", TensorProto.INT64, ["found", 4]))
    onnx.save(model, str(source))
    said = r"of shape \['\?', 4\], .* depends on NonZero \(node 'look'\), .* returns what stands before that"
    with pytest.raises(ExportError, match=said):
        bundle_and_outputs(tmp_path, source, 5, head="semantic", pixels_output="where")


@pytest.mark.parametrize("missing", ["head", "color", "resize", "scale"])
def test_what_an_onnx_file_cannot_say_must_be_said(tmp_path: Path, missing: str) -> None:
    keys = {"head": "semantic", **FED, missing: None}
    with pytest.raises(UsageError, match=f"family generic knows only what the recipe says, .* say: {missing};"):
        described(tmp_path, {"map": np.ones((1, 2, 4, 4), np.float32)}, 2, **keys)


def test_an_onnx_file_takes_no_family_of_torch_networks_and_no_weights(tmp_path: Path) -> None:
    source = save_constant_network(tmp_path / "net.onnx", {"out": np.zeros((1, 84, 8))})
    readers = "fastestdet, generic, nanodet, ultralytics, yolox"
    with pytest.raises(UsageError, match=f"family 'detr' takes torch networks; .* one of: {readers} "):
        import_onnx(ExportRequest(source=str(source), family="detr"), tmp_path / "bundle")
    with pytest.raises(UsageError, match=f"name its family with --family, one of: {readers}$"):
        import_onnx(ExportRequest(source=str(source)), tmp_path / "bundle")
    with pytest.raises(UsageError, match=r"net\.onnx holds its weights; leave --weights out"):
        import_onnx(ExportRequest(source=str(source), family="yolox", weights="none"), tmp_path / "bundle")
    with pytest.raises(UsageError, match="networks of family yolox have no use for proposals, roi; leave it out"):
        import_onnx(ExportRequest(source=str(source), family="yolox", roi="op", proposals=3), tmp_path / "bundle")


def test_other_families_refuse_a_description(tmp_path: Path) -> None:
    source = save_constant_network(tmp_path / "net.onnx", {"out": np.zeros((1, 84, 8))})
    request = ExportRequest(source=str(source), family="yolox", labels="coco80", head="dense", box_format="xyxy_unit")
    with pytest.raises(UsageError, match="family yolox knows what its outputs mean and does not read box_format, head"):
        import_onnx(request, tmp_path / "bundle")


# Seven boxes of 10 x 10 pixels at (20, 30) of the 64 x 64 input, as their format has it.
CORNERS = np.tile(np.array([20, 30, 30, 40], np.float32), (1, 7, 1))
CENTRES = np.tile(np.array([25, 35, 10, 10], np.float32), (1, 7, 1))


@pytest.mark.parametrize(
    ("boxes", "box_format", "said"),
    [
        (CORNERS, "xyxy_pixels", None),
        (CENTRES, "cxcywh_pixels", None),
        (CORNERS / 64, "xyxy_unit", None),
        (CENTRES / 64, "cxcywh_unit", None),
        (np.zeros((1, 7, 4), np.float32), "xyxy_pixels", None),
        (CENTRES, "xyxy_pixels", "end before they start, as xyxy"),
        (CENTRES / 64, "xyxy_unit", "end before they start, as xyxy"),
        (-CENTRES, "cxcywh_pixels", "have negative sides, as cxcywh"),
        (CORNERS, "xyxy_unit", "lie far outside the image, as fractions of it"),
        (CORNERS / 64, "xyxy_pixels", "are smaller than a pixel"),
    ],
)
def test_boxes_that_are_not_what_their_format_says_are_doubted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, boxes: Any, box_format: str, said: str | None
) -> None:
    described(tmp_path, {"boxes": boxes, "scores": SCORES}, 5, head="dense", box_format=box_format)
    told = [record.getMessage() for record in caplog.records if "most boxes" in record.getMessage()]
    assert len(told) == (said is not None)
    assert said is None or f"most boxes {said} on a test image" in told[0]
