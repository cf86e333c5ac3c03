"""Panoptic maps of both kinds of networks agree with other people's implementations and with pencil and paper."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.runtime.errors import BackendError, BundleError
from edgewright.runtime.geometry import place
from edgewright.runtime.heads import load_head
from edgewright.runtime.panoptic import Extent, fuse, segment_extents
from edgewright.runtime.results import BoxMask, Detections, PanopticMap, Segment
from edgewright.runtime.spec import HeadSpec, ModelSpec, PostprocessSpec, PreprocessSpec, Resize, TensorSpec

LABELS = ("bolt", "nut", "washer", "belt", "tray")
THINGS = (0, 1, 2)
QUERIES = ("mask_logits", "class_logits")
PAIR = ("boxes", "scores", "classes", "masks", "semantic")


def spec(
    roles: tuple[str, ...],
    size_hw: tuple[int, int],
    *,
    resize: Resize = "stretch",
    thing_ids: tuple[int, ...] | None = THINGS,
) -> ModelSpec:
    return ModelSpec(
        name="panoptic",
        task="panoptic",
        labels=LABELS,
        inputs=(),
        outputs=tuple(TensorSpec(name=name, shape=(1,), dtype="float32") for name in roles),
        preprocess=PreprocessSpec(size_hw=size_hw, resize=resize),
        head=HeadSpec(kind="panoptic", outputs={name: name for name in roles}, thing_ids=thing_ids),
    )


def decode(outputs: dict[str, Any], model: ModelSpec, image_hw: tuple[int, int], **settings: Any) -> PanopticMap:
    arrays = {name: np.asarray(value, np.float32) for name, value in outputs.items()}
    result = load_head(model)(arrays, model, place(image_hw, model.preprocess), PostprocessSpec(**settings))
    assert isinstance(result, PanopticMap)
    return result


def random_queries(seed: int, grid_hw: tuple[int, int], count: int = 12) -> dict[str, npt.NDArray[np.float32]]:
    """Round masks, some of which overlap, and classes, some of which are no object."""
    rng = np.random.default_rng(seed)
    rows, columns = (np.linspace(0, 1, cells) for cells in grid_hw)
    masks = [
        8 - 8 * ((rows[:, None] - y) ** 2 + (columns - x) ** 2) / radius**2
        for y, x, radius in rng.uniform((0, 0, 0.05), (1, 1, 0.35), (count, 3))
    ]
    classes = rng.normal(0, 2.5, (count, len(LABELS) + 1))
    return {"mask_logits": np.array([masks], np.float32), "class_logits": classes[None].astype(np.float32)}


@pytest.mark.parametrize("image_hw", [(384, 384), (150, 210), (500, 430)])
@pytest.mark.parametrize("seed", range(3))
def test_queries_without_stuff_become_what_transformers_makes_of_mask2former(
    image_hw: tuple[int, int], seed: int
) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    # Its post-processing enlarges every mask to 384 x 384 first, the input size of the published networks. It measures masks
    # weighted by their scores, unlike Mask2Former's authors: with scores near 1 that is the same.
    outputs = random_queries(seed, (96, 96))
    outputs["class_logits"] *= 8
    wanted = transformers.Mask2FormerImageProcessor(num_labels=len(LABELS)).post_process_panoptic_segmentation(
        _Outputs(torch, outputs), threshold=0.3, target_sizes=[image_hw], label_ids_to_fuse=set()
    )[0]
    got = decode(outputs, spec(QUERIES, (384, 384), thing_ids=None), image_hw, conf_threshold=0.3)
    assert len(got.segments) > 1
    assert [(s.segment_id, s.class_id) for s in got.segments] == [
        (s["id"], s["label_id"]) for s in wanted["segments_info"]
    ]
    assert [s.score for s in got.segments] == pytest.approx([s["score"] for s in wanted["segments_info"]], abs=1e-5)
    # It hands out pixels outside of every mask too, unlike Mask2Former's authors. Where two claims agree to the last digits,
    # rounding decides.
    inside = got.segment_ids > 0
    assert inside.mean() > 0.2
    assert np.mean(got.segment_ids[inside] == wanted["segmentation"].numpy()[inside]) > 0.9999


@pytest.mark.parametrize("seed", range(4))
def test_queries_with_stuff_become_what_transformers_makes_of_eomt(seed: int) -> None:
    torch = pytest.importorskip("torch")
    eomt = pytest.importorskip("transformers.models.eomt.image_processing_eomt")
    # Its images stand in the top left corner of a square input.
    outputs = random_queries(seed, (40, 40), count=20)
    wanted = eomt.EomtImageProcessor(
        size={"shortest_edge": 160, "longest_edge": 160}
    ).post_process_panoptic_segmentation(_Outputs(torch, outputs), [(120, 160)], threshold=0.3, stuff_classes=[3, 4])[0]
    model = spec(QUERIES, (160, 160), resize="letterbox_top_left")
    got = decode(outputs, model, (120, 160), conf_threshold=0.3)
    assert len(got.segments) > 1
    assert [(s.segment_id, s.class_id) for s in got.segments] == [
        (s["id"] + 1, s["label_id"]) for s in wanted["segments_info"]
    ]
    assert np.mean(got.segment_ids == wanted["segmentation"].numpy() + 1) > 0.9999


class _Outputs:
    def __init__(self, torch: Any, outputs: dict[str, npt.NDArray[np.float32]]) -> None:
        self.masks_queries_logits = torch.from_numpy(outputs["mask_logits"].copy())
        self.class_queries_logits = torch.from_numpy(outputs["class_logits"].copy())


def test_nothing_found_is_a_map_of_zeros() -> None:
    outputs = random_queries(0, (8, 8))
    outputs["class_logits"][..., -1] = 50
    got = decode(outputs, spec(QUERIES, (32, 32)), (40, 50))
    assert got.segment_ids.shape == (40, 50)
    assert not got.segment_ids.any()
    assert got.segments == ()


def halves(*classes: int, score: float = 0.9) -> dict[str, npt.NDArray[np.float32]]:
    """The left half of an 8 x 8 map belongs to the first query, the right half to the second."""
    masks = np.full((1, 2, 8, 8), -20, np.float32)
    masks[0, 0, :, :4] = masks[0, 1, :, 4:] = 20
    logits = np.zeros((1, 2, len(LABELS) + 1), np.float32)
    for query, class_id in enumerate(classes):
        # softmax: e^x / (e^x + 5) = score
        logits[0, query, class_id] = np.log(5 * score / (1 - score))
    return {"mask_logits": masks, "class_logits": logits}


def test_stuff_of_one_class_is_one_segment_and_things_of_one_class_are_two() -> None:
    stuff = decode(halves(3, 3), spec(QUERIES, (8, 8)), (16, 16))
    assert [(s.segment_id, s.class_id, s.is_thing) for s in stuff.segments] == [(1, 3, False)]
    assert (stuff.segment_ids == 1).all()
    things = decode(halves(1, 1), spec(QUERIES, (8, 8)), (16, 16))
    assert [(s.segment_id, s.class_id, s.is_thing) for s in things.segments] == [(1, 1, True), (2, 1, True)]
    assert things.segments[0].score == pytest.approx(0.9)
    assert (things.segment_ids[:, 0] == 1).all()
    assert (things.segment_ids[:, -1] == 2).all()


def test_small_stuff_is_left_out_when_asked_and_small_things_are_not() -> None:
    got = decode(halves(3, 1), spec(QUERIES, (8, 8)), (16, 16), stuff_area=0.6)
    assert [(s.segment_id, s.class_id) for s in got.segments] == [(1, 1)]
    assert not got.segment_ids[:, :7].any()


def test_a_letterboxed_map_is_cut_to_the_image() -> None:
    # An image of 20 x 40 fills the middle half of a square input; the upper query lies over its upper half.
    masks = np.full((1, 2, 16, 16), -20, np.float32)
    masks[0, 0, :8] = masks[0, 1, 8:] = 20
    outputs = {**halves(0, 1), "mask_logits": masks}
    got = decode(outputs, spec(QUERIES, (64, 64), resize="letterbox"), (20, 40))
    assert (got.segment_ids[:9] == 1).all()
    assert (got.segment_ids[11:] == 2).all()


def test_nan_in_a_kept_mask_is_an_error() -> None:
    outputs = halves(0, 1)
    outputs["mask_logits"][0, 1, 0, 0] = np.nan
    with pytest.raises(BackendError, match="output 'mask_logits' holds NaN"):
        decode(outputs, spec(QUERIES, (8, 8)), (16, 16))


def pair_outputs(scores: list[float], boxes: list[list[float]], semantic: npt.NDArray[Any]) -> dict[str, Any]:
    return {
        "boxes": [boxes],
        "scores": [scores],
        "classes": [np.arange(len(scores)) % 3],
        "masks": np.full((1, len(scores), 28, 28), 20.0),
        "semantic": semantic[None],
    }


def test_the_pair_puts_objects_first_and_stuff_into_what_they_leave() -> None:
    planes = np.zeros((3, 20, 20), np.float32)
    planes[1, :10], planes[2, 10:] = 5, 5  # belt above, tray below
    planes[0, :, 18:] = 9  # neither at the right edge
    boxes = [[2.0, 2, 12, 12], [2.0, 4, 12, 12], [4.0, 8, 14, 18]]
    got = decode(
        pair_outputs([0.9, 0.8, 0.7], boxes, planes), spec(PAIR, (20, 20)), (20, 20), conf_threshold=0.5, stuff_area=0.1
    )
    # The second box lies in the first; a third of the last one does.
    assert [(s.class_id, s.is_thing) for s in got.segments] == [(0, True), (2, True), (3, False), (4, False)]
    assert [s.score for s in got.segments] == [pytest.approx(0.9), pytest.approx(0.7), None, None]
    ids = got.segment_ids
    assert (ids[5, 5], ids[10, 10], ids[15, 10], ids[0, 0], ids[19, 0], ids[5, 19]) == (1, 1, 2, 3, 4, 0)


def test_stuff_below_its_least_area_is_left_to_nobody() -> None:
    planes = np.zeros((2, 20, 20), np.float32)
    planes[1, 0, :4] = 5  # four pixels of 400
    planes[0, 1:] = 5
    few = pair_outputs([0.0], [[0.0, 0, 0, 0]], planes)
    model = spec(PAIR, (20, 20)).model_copy(update={"labels": LABELS[:4]})
    assert decode(few, model, (20, 20), stuff_area=0.02).segments == ()
    whole = decode(few, model, (20, 20), stuff_area=0.0)
    assert whole.segments[0].class_id == 3


def test_a_semantic_output_that_fits_no_labels_is_refused() -> None:
    with pytest.raises(BundleError, match="has 5 planes, 2 of 5 labels are stuff"):
        decode(pair_outputs([0.0], [[0.0] * 4], np.zeros((5, 20, 20))), spec(PAIR, (20, 20)), (20, 20))


def test_a_manifest_with_half_of_the_outputs_is_refused() -> None:
    with pytest.raises(
        BundleError, match=r"panoptic head wants the outputs \['class_logits', 'mask_logits'\] or \['boxes'"
    ):
        load_head(spec(("mask_logits",), (8, 8)))


boxes_st = st.lists(
    st.tuples(st.integers(-8, 30), st.integers(-8, 30), st.integers(0, 20), st.integers(0, 20), st.floats(0, 1)),
    max_size=6,
)


@given(boxes=boxes_st, overlap=st.floats(0, 1), stuff_area=st.floats(0, 1), seed=st.integers(0, 99))
def test_every_pixel_of_a_fused_map_belongs_to_a_listed_segment_or_to_none(
    boxes: list[tuple[int, int, int, int, float]], overlap: float, stuff_area: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    count = len(boxes)
    masks = tuple(BoxMask((x, y), np.ones((h, w), bool)) for x, y, w, h, _ in boxes)
    scores = np.array([score for *_, score in boxes], np.float32)
    things = Detections(np.zeros((count, 4), np.float32), scores, np.zeros(count, np.int64), masks=masks)
    stuff = rng.integers(-1, 3, (24, 24))
    got = fuse(things, stuff, overlap_threshold=overlap, stuff_area=stuff_area)
    assert [s.segment_id for s in got.segments] == list(range(1, len(got.segments) + 1))
    assert set(np.unique(got.segment_ids)) - {0} == {s.segment_id for s in got.segments}
    for segment in got.segments:
        own = got.segment_ids == segment.segment_id
        if not segment.is_thing:
            assert (stuff[own] == segment.class_id).all()
            assert own.mean() >= stuff_area
    assert [s for s in got.segments if s.is_thing] == sorted((s for s in got.segments if s.is_thing), key=_best_first)


def _best_first(segment: Segment) -> float:
    return -(segment.score or 0)


def test_extents_are_the_boxes_and_areas_of_segments() -> None:
    segment_ids = np.zeros((6, 8), np.int32)
    segment_ids[1:3, 2:7] = 70_000
    segment_ids[2, 3] = 4
    segments = (Segment(70_000, 0, True), Segment(4, 1, True), Segment(9, 1, True))
    extents = segment_extents(PanopticMap(segment_ids, segments))
    assert extents == {70_000: Extent(9, (2, 1, 7, 3)), 4: Extent(1, (3, 2, 4, 3))}
