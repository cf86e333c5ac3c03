"""J and F by the definitions of the DAVIS challenge, with distances and masks written out another way."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgewright.pipeline.metrics.video import (
    contour_accuracy,
    frame_scores,
    region_similarity,
    scores_over,
    video_scores,
)
from edgewright.pipeline.metrics.video_means import video_means
from edgewright.runtime.errors import DataError

masks = arrays(np.bool_, (9, 8))


def seg2bmap(mask: Any) -> Any:
    """The lines of the published code: shifted copies, then the last row, column and corner."""
    east, south, southeast = (np.zeros_like(mask) for _ in range(3))
    east[:, :-1] = mask[:, 1:]
    south[:-1, :] = mask[1:, :]
    southeast[:-1, :-1] = mask[1:, 1:]
    edge = mask ^ east | mask ^ south | mask ^ southeast
    edge[-1, :] = mask[-1, :] ^ east[-1, :]
    edge[:, -1] = mask[:, -1] ^ south[:, -1]
    edge[-1, -1] = False
    return edge


def by_distance(truth: Any, found: Any, reach: float) -> float:
    """F by the distance from every pixel of one boundary to the nearest of the other."""
    ours, theirs = (np.argwhere(seg2bmap(mask)) for mask in (found, truth))
    if not len(ours) or not len(theirs):
        return float(len(ours) == len(theirs))
    distance = np.sqrt(((ours[:, None] - theirs) ** 2).sum(axis=-1))
    precision, recall = (distance.min(axis=1) <= reach).mean(), (distance.min(axis=0) <= reach).mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


@given(arrays(np.bool_, (5, 5)), arrays(np.bool_, (5, 5)), st.sampled_from([(1, 1), (26, 2)]))
def test_contours_are_matched_by_distance(truth: Any, found: Any, size: tuple[int, int]) -> None:
    """Larger pictures allow more: 0.008 of the diagonal, rounded up."""
    scale, reach = size
    large_truth, large_found = (np.kron(mask, np.ones((scale, scale), bool)) for mask in (truth, found))
    large_found = np.roll(large_found, scale // 10, axis=1)
    assert reach == np.ceil(0.008 * np.hypot(*large_truth.shape))
    assert contour_accuracy(large_truth, large_found) == pytest.approx(by_distance(large_truth, large_found, reach))


@given(masks, masks)
def test_regions_are_compared_by_iou(truth: Any, found: Any) -> None:
    both, either = (truth & found).sum(), (truth | found).sum()
    assert region_similarity(truth, found) == (both / either if either else 1.0)


def db_statistics(values: list[float]) -> tuple[float, float, float]:
    """The lines of the published code for one object."""
    per_frame = np.array(values)
    ids = (np.round(np.linspace(1, len(per_frame), 5) + 1e-10) - 1).astype(np.uint8)
    bins = [per_frame[ids[i] : ids[i + 1] + 1] for i in range(4)]
    decay = np.nanmean(bins[0]) - np.nanmean(bins[3])
    return float(np.nanmean(per_frame)), float(np.nanmean(per_frame > 0.5)), float(decay)


@given(st.lists(st.tuples(masks, masks), min_size=1, max_size=12))
def test_statistics_over_frames_are_those_of_davis(frames: list[tuple[Any, Any]]) -> None:
    scores = scores_over([frame_scores(truth.astype(int), found.astype(int)) for truth, found in frames], [1])[1]
    similarities = [region_similarity(*pair) for pair in frames]
    assert (scores.j.mean, scores.j.recall, scores.j.decay) == pytest.approx(db_statistics(similarities))


def film(*positions: int) -> list[Any]:
    """A square, number 1, at a position of a row, beside another, number 3, that stays."""
    frames = []
    for left in positions:
        ids = np.zeros((40, 100), np.int64)
        ids[10:30, left : left + 20], ids[10:30, 75:95] = 1, 3
        frames.append(ids)
    return frames


def test_an_object_that_is_lost_halfway_loses_half() -> None:
    """The first and the last frame do not count; of four others it is found in two."""
    truth, found = film(*[5] * 6), film(5, 5, 5, 50, 50, 50)
    scores = video_scores(truth, found)
    assert sorted(scores) == [1, 3]
    assert (scores[1].j.mean, scores[1].f.mean, scores[1].j.recall) == pytest.approx((0.5, 0.5, 0.5))
    assert scores[1].j.decay == 1.0
    assert scores[3].j_and_f == 1.0
    values = {m.name: m.value for m in video_means({"belt": scores}).measurements()}
    assert (values["J&F"], values["J"], values["F"], values["J-decay"]) == pytest.approx((0.75, 0.75, 0.75, 0.5))
    assert values["J&F/belt"] == values["J&F"]


def test_void_pixels_belong_to_no_object() -> None:
    truth, found = film(5, 5, 5), film(5, 5, 5)
    truth[1][:, :50] = np.where(np.arange(50) < 15, 255, truth[1][:, :50])
    assert video_scores(truth, found)[1].j.mean == 1.0


def test_videos_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(DataError, match="2 found masks for 3 frames"):
        video_scores(film(1, 2, 3), film(1, 2))
    with pytest.raises(DataError, match="a video of one or two frames has none between"):
        video_scores(film(1, 2), film(1, 2))
    assert video_scores(film(1, 2), film(1, 2), ends=True)[1].j.mean == 1.0
    assert video_means({"belt": {}}).measurements() == ()


def test_means_are_over_objects_and_a_resample_draws_whole_videos() -> None:
    """A video of two objects, one of them half lost, beside one of an object that is found."""
    half, whole = video_scores(film(*[5] * 6), film(5, 5, 5, 50, 50, 50)), video_scores(film(5, 5, 5), film(5, 5, 5))
    means = video_means({"belt": half, "desk": {3: whole[3]}})
    values = {m.name: m.value for m in means.measurements()}
    assert values["J&F"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert (values["J&F/belt"], values["J&F/desk"]) == pytest.approx((0.75, 1.0))
    assert not {m.name: m.higher_is_better for m in means.measurements()}["J-decay"]
    scores = means.scores(["J&F", "J&F/desk", "J-decay"])
    assert scores.names == ("J&F", "J&F/desk")
    assert scores.support().tolist() == [2, 1]
    assert scores.values(np.array([2, 1]))[0] == pytest.approx((2 * 1.5 + 1) / 5)
    assert np.isnan(scores.values(np.array([1, 0]))[1])
