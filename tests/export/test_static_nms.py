"""Suppression by matrix products is torchvision's greedy one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import batched_nms, nms

from edgewright.export.static_nms import best_first, keep_mask


def crowd(count: int, seed: int) -> torch.Tensor:
    """Boxes (count, 4) in heaps around a few objects."""
    rng = np.random.default_rng(seed)
    objects = rng.integers(1, 30)
    centre, side = rng.uniform(0, 400, (objects, 2)), rng.uniform(10, 200, (objects, 2))
    owner, spread = rng.integers(0, objects, count), rng.uniform(0.01, 0.4)
    middle = centre[owner] + rng.normal(size=(count, 2)) * side[owner] * spread
    sides = side[owner] * np.exp(rng.normal(size=(count, 2)) * spread)
    return torch.from_numpy(np.concatenate([middle - sides / 2, middle + sides / 2], 1).astype(np.float32))


@given(
    seed=st.integers(0, 10_000),
    iou_threshold=st.sampled_from([0.3, 0.45, 0.5, 0.7]),
    count=st.sampled_from([1, 7, 200]),
)
def test_it_keeps_what_torchvision_keeps(seed: int, iou_threshold: float, count: int) -> None:
    boxes, scores = crowd(count, seed), torch.linspace(1, 0.5, count)
    kept = keep_mask(boxes, torch.ones(count), iou_threshold)
    assert kept.nonzero().flatten().tolist() == sorted(nms(boxes, scores, iou_threshold).tolist())


def test_a_large_crowd_needs_no_more_rounds_than_there_are() -> None:
    boxes, scores = torch.stack([crowd(1000, seed) for seed in range(3)]), torch.linspace(1, 0.5, 1000)
    kept = keep_mask(boxes, torch.ones(3, 1000), 0.5)
    for crowd_boxes, mask in zip(boxes, kept, strict=True):
        assert mask.nonzero().flatten().tolist() == sorted(nms(crowd_boxes, scores, 0.5).tolist())


def test_only_pairs_of_one_class_suppress_each_other() -> None:
    boxes, scores = crowd(300, 4), torch.linspace(1, 0.5, 300)
    classes = torch.arange(300) % 4
    kept = keep_mask(boxes, torch.ones(300), 0.5, same=(classes[:, None] == classes[None, :]).float())
    assert kept.nonzero().flatten().tolist() == sorted(batched_nms(boxes, scores, classes, 0.5).tolist())


def test_an_invalid_box_neither_remains_nor_suppresses() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert keep_mask(boxes, torch.tensor([0.0, 1, 1, 0]), 0.5).tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("count", [1, 3, 5])
def test_equals_keep_their_order(count: int) -> None:
    values, index = best_first(torch.tensor([1.0, 2.0, 2.0, 1.0, 2.0]), count)
    assert index.tolist() == [1, 2, 4, 0, 3][:count]
    assert values.tolist() == [2.0, 2.0, 2.0, 1.0, 1.0][:count]
