"""Masks are compared by what they hold, pasted into the network's own boxes: a box at a pixel's border is judged as a box."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.export.parity import parity_images, prove_parity
from edgewright.export.result_parity import Tensors, decode, decode_beside
from edgewright.runtime.errors import ParityError
from edgewright.runtime.geometry import place
from edgewright.runtime.matching import mask_iou, match_detections
from edgewright.runtime.results import Detections
from edgewright.runtime.spec import HeadSpec, ModelSpec, PreprocessSpec, TensorSpec

SIZE = (120, 160)
LEFT = 76.4
# A cell of zeros around a mask of 28 cells widens its box by 1/28 on every side: this right edge is cut at 105 px.
BORDER = (105 * 28 + LEFT) / 29


def outputs(right: float, *, shift: int = 0) -> Tensors:
    """Four detections beside each other; the first one's right edge is `right`, all masks are `shift` cells further right."""
    boxes = np.array([[LEFT, 20, right, 48], *([5.0 + 30 * i, 60, 30.0 + 30 * i, 90] for i in range(3))], np.float32)
    logits = np.full((4, 28, 28), -4.0, np.float32)
    logits[:, 4:24, 4:24:3] = 3.0  # combs, of which a column more or less is much
    return {
        "boxes": boxes[None],
        "scores": np.linspace(0.9, 0.6, 4, dtype=np.float32)[None],
        "classes": np.zeros((1, 4), np.float32),
        "masks": np.roll(logits, shift, axis=2)[None],
    }


def spec(tensors: Tensors) -> ModelSpec:
    return ModelSpec(
        name="masks",
        task="instance",
        labels=("a", "b"),
        inputs=(TensorSpec(name="images", shape=(1, 3, *SIZE), dtype="float32"),),
        outputs=tuple(TensorSpec(name=name, shape=value.shape, dtype="float32") for name, value in tensors.items()),
        preprocess=PreprocessSpec(size_hw=SIZE),
        head=HeadSpec(kind="roi_masks", outputs={name: name for name in tensors}),
    )


WANTED, ACROSS = outputs(BORDER + 0.0014), outputs(BORDER - 0.0007)
SPEC = spec(WANTED)
PLACEMENT = place(SIZE, SPEC.preprocess)


def found(tensors: Tensors) -> Detections:
    result = decode(tensors, SPEC, PLACEMENT, SPEC.postprocess)
    assert isinstance(result, Detections)
    return result


def found_beside(wanted: Tensors, got: Tensors) -> Detections:
    result = decode_beside(wanted, got, SPEC, PLACEMENT, SPEC.postprocess)
    assert isinstance(result, Detections)
    return result


def lost(got: Tensors) -> tuple[int, ...]:
    return match_detections(found(WANTED), found_beside(WANTED, got), SPEC.postprocess).lost


def test_a_box_at_a_pixels_border_is_judged_as_a_box_and_its_mask_by_what_it_holds() -> None:
    wanted, got = found(WANTED), found(ACROSS)
    assert wanted.masks is not None
    assert got.masks is not None
    assert got.masks[0].pixels.shape[1] == wanted.masks[0].pixels.shape[1] - 1
    assert mask_iou(wanted.masks[0], got.masks[0]) < 0.99
    assert match_detections(wanted, got, SPEC.postprocess).lost == (0,)
    assert lost(ACROSS) == ()
    np.testing.assert_array_equal(found_beside(WANTED, ACROSS).boxes_xyxy, got.boxes_xyxy)  # boxes stay the graph's own


def test_rows_that_changed_places_keep_their_masks() -> None:
    turned = {name: value[:, ::-1].copy() for name, value in ACROSS.items()}
    assert lost(turned) == ()


def test_a_mask_that_holds_something_else_is_lost() -> None:
    assert lost(outputs(BORDER - 0.0007, shift=1)) == (0, 1, 2, 3)
    exchanged = {**ACROSS, "masks": ACROSS["masks"].copy()}
    exchanged["masks"][0, 1] = np.rot90(ACROSS["masks"][0, 1])  # as of another class
    assert lost(exchanged) == (1,)


def test_the_reference_box_makes_up_for_no_box_score_or_class() -> None:
    assert lost(outputs(BORDER + 0.06)) == (0,)
    for role, index, change in (("scores", 2, 0.002), ("classes", 3, 1)):
        changed = {**ACROSS, role: ACROSS[role].copy()}
        changed[role][0, index] += change
        assert lost(changed) == (index,)


def test_a_picture_on_which_the_network_finds_nothing_has_no_boxes_to_paste_into() -> None:
    nothing = {name: value[:, :0] for name, value in WANTED.items()}
    beside = found_beside(nothing, ACROSS)
    assert beside.masks is not None
    assert [mask.pixels.shape for mask in beside.masks] == [mask.pixels.shape for mask in found(ACROSS).masks or ()]


def constant_graph(tensors: Tensors, path: Path) -> Path:
    """A graph that gives these tensors whatever the picture: each of them plus the picture's mean times 0."""
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, *SIZE))]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    weights = [numpy_helper.from_array(np.array(0, np.float32), "zero")]
    for name, value in tensors.items():
        weights.append(numpy_helper.from_array(value, f"{name}_value"))
        nodes.append(helper.make_node("Add", [f"{name}_value", "nothing"], [name]))
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "g", inputs, results, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_the_parity_of_an_export_follows_that_rule_in_both_engines(tmp_path: Path) -> None:
    images = parity_images(SIZE)
    near = {**ACROSS, "masks": ACROSS["masks"] + np.float32(0.004)}
    parity = prove_parity(lambda _: WANTED, constant_graph(near, tmp_path / "near.onnx"), SPEC, images=images)
    assert [(b.detections, b.matched, b.problem) for b in parity.backends] == [(16, 16, None)] * 2
    wrong = constant_graph(outputs(BORDER - 0.0007, shift=1), tmp_path / "wrong.onnx")
    with pytest.raises(ParityError, match="output 'masks' differs"):
        prove_parity(lambda _: WANTED, wrong, SPEC, images=images)
