"""A graph that strays from its network must not pass."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.export.parity import compare_tensors, parity_images, prove_parity
from edgewright.export.result_parity import Tensors
from edgewright.runtime.errors import ParityError
from edgewright.runtime.matching import mask_iou, match_detections
from edgewright.runtime.results import BoxMask, Detections
from edgewright.runtime.spec import HeadSpec, ModelSpec, PostprocessSpec, PreprocessSpec, TensorSpec

SIZE = (8, 10)
SHAPE = (1, 3, *SIZE)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """logits = 0.01 * images."""
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("images", "logits")]
    factor = numpy_helper.from_array(np.array(0.01, np.float32), "factor")
    graph = helper.make_graph(
        [helper.make_node("Mul", ["images", "factor"], ["logits"])], "g", values[:1], values[1:], [factor]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def spec(kind: str, outputs: dict[str, tuple[int, ...]], **postprocess: Any) -> ModelSpec:
    return ModelSpec(
        name="tiny",
        task="semantic" if kind == "semantic" else "detect",
        labels=("a", "b", "c"),
        inputs=(TensorSpec(name="images", shape=SHAPE, dtype="float32"),),
        outputs=tuple(TensorSpec(name=name, shape=shape, dtype="float32") for name, shape in outputs.items()),
        preprocess=PreprocessSpec(size_hw=SIZE),
        head=HeadSpec(kind=kind, outputs={name: name for name in outputs}),
        postprocess=PostprocessSpec(**postprocess),
    )


def test_a_faithful_graph_passes_in_both_engines_and_the_errors_are_kept(model: Path) -> None:
    images = parity_images(SIZE)
    parity = prove_parity(
        lambda feeds: {"logits": feeds["images"] * np.float32(0.01)},
        model,
        spec("semantic", {"logits": SHAPE}),
        images=images,
    )
    assert set(parity.images) >= {"blank", "crowded"}
    assert [backend.backend for backend in parity.backends] == ["ort", "ov"]
    assert all(backend.tensors["logits"] < 1e-6 and backend.problem is None for backend in parity.backends)


def test_a_graph_that_is_off_by_two_thousandths_fails_and_the_tensor_is_named(model: Path) -> None:
    with pytest.raises(ParityError, match=r"output 'logits' differs on the image 'blank' in backend 'ort': at \[0, "):
        prove_parity(
            lambda feeds: {"logits": feeds["images"] * np.float32(0.01) + np.float32(0.003)},
            model,
            spec("semantic", {"logits": SHAPE}),
            images=parity_images(SIZE),
        )


def rows(count: int, seed: int = 0) -> Tensors:
    rng = np.random.default_rng(seed)
    boxes: npt.NDArray[np.float32] = rng.uniform(0, 300, (1, count, 4)).astype(np.float32)
    return {
        "boxes": boxes,
        "scores": np.sort(rng.uniform(0.1, 1, (1, count)).astype(np.float32))[:, ::-1].copy(),
        "classes": rng.integers(0, 3, (1, count)).astype(np.float32),
    }


FINAL = spec("final", {"boxes": (1, 40, 4), "scores": (1, 40), "classes": (1, 40)})


def test_rows_that_a_graph_chooses_may_change_places() -> None:
    wanted = rows(40)
    order = np.arange(40)
    order[[3, 4, 20, 30]] = 4, 3, 30, 20
    errors = compare_tensors(
        wanted, {name: value[:, order] for name, value in wanted.items()}, FINAL, 0.05, where="here"
    )
    assert errors == {"boxes": 0.0, "scores": 0.0, "classes": 0.0}


def test_one_row_in_five_hundred_may_be_another_but_not_two() -> None:
    wanted, got = rows(40), rows(40)
    got["boxes"][0, 7] += 50
    compare_tensors(wanted, got, FINAL, 0.05, where="here")
    got["boxes"][0, 8] += 50
    with pytest.raises(ParityError, match=r"output 'boxes' differs here: at \[0, [78], "):
        compare_tensors(wanted, got, FINAL, 0.05, where="here")


def test_rows_of_a_dense_head_keep_their_places() -> None:
    dense = spec("dense", {"boxes": (1, 40, 4), "scores": (1, 40)})
    wanted = rows(40)
    with pytest.raises(ParityError, match="output 'boxes' differs"):
        compare_tensors(wanted, {name: value[:, ::-1] for name, value in wanted.items()}, dense, 0.05, where="here")


def test_nan_is_a_difference() -> None:
    wanted, got = rows(40), rows(40)
    got["boxes"][:] = np.nan
    with pytest.raises(ParityError, match="output 'boxes' differs here"):
        compare_tensors(wanted, got, FINAL, 0.05, where="here")


def found(boxes: list[list[float]], scores: list[float], masks: tuple[BoxMask, ...] | None = None) -> Detections:
    return Detections(
        np.array(boxes, np.float32), np.array(scores, np.float32), np.zeros(len(scores), np.int64), masks=masks
    )


A, B = [10.0, 10.0, 20.0, 20.0], [30.0, 30.0, 40.0, 50.0]


@pytest.mark.parametrize(
    ("boxes", "scores", "lost", "extra"),
    [
        ([B, A], [0.8, 0.9], (), ()),
        ([[10.04, 10, 20, 20], B], [0.9, 0.8009], (), ()),
        ([[10.06, 10, 20, 20], B], [0.9, 0.8], (0,), (0,)),
        ([A, B], [0.9, 0.802], (1,), (1,)),
        ([A], [0.9], (1,), ()),
        ([A, A, B], [0.9, 0.9, 0.8], (), (1,)),
        ([A, B, B], [0.9, 0.8, 0.2505], (), ()),
    ],
)
def test_detections_are_the_same_within_a_twentieth_of_a_pixel_and_a_thousandth_of_score(
    boxes: list[list[float]], scores: list[float], lost: tuple[int, ...], extra: tuple[int, ...]
) -> None:
    matches = match_detections(found([A, B], [0.9, 0.8]), found(boxes, scores), PostprocessSpec(conf_threshold=0.25))
    assert (matches.total, matches.lost, matches.extra) == (2, lost, extra)


def test_what_falls_off_the_end_of_a_full_list_is_no_difference() -> None:
    full = PostprocessSpec(max_detections=2)
    assert match_detections(found([A, B], [0.9, 0.8]), found([A, A], [0.9, 0.8004]), full).lost == ()


def test_masks_count_by_their_overlap_in_the_image() -> None:
    whole, moved = BoxMask((5, 5), np.ones((10, 10), bool)), BoxMask((6, 5), np.ones((10, 10), bool))
    assert mask_iou(whole, moved) == pytest.approx(90 / 110)
    assert mask_iou(whole, BoxMask((4, 4), np.pad(np.ones((10, 10), bool), 1))) == 1.0
    same_box = found([A], [0.9], (whole,))
    assert match_detections(same_box, found([A], [0.9], (moved,)), PostprocessSpec()).lost == (0,)
    assert match_detections(same_box, same_box, PostprocessSpec()).lost == ()
