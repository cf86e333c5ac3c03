"""What of a two-stage network's outputs must agree, and how many regions its graph looks at."""

import numpy as np
import pytest
import torch
from tests.export.test_torchvision_rcnn import NAMES, SIZE, tiny_faster_rcnn

from edgewright.export.families.torchvision_rcnn import build
from edgewright.export.parity import compare_tensors
from edgewright.export.request import ExportRequest
from edgewright.export.result_parity import Tensors
from edgewright.export.torch_source import TorchNetwork
from edgewright.runtime.errors import ParityError
from edgewright.runtime.spec import HeadSpec, ModelSpec, PreprocessSpec, TensorSpec

REGIONS, CLASSES = 30, 3


def spec(kind: str, tensors: Tensors) -> ModelSpec:
    return ModelSpec(
        name="tiny",
        task="detect" if kind == "rcnn" else "instance",
        labels=("a", "b", "c"),
        inputs=(TensorSpec(name="images", shape=(1, 3, 64, 96), dtype="float32"),),
        outputs=tuple(TensorSpec(name=name, shape=value.shape, dtype="float32") for name, value in tensors.items()),
        preprocess=PreprocessSpec(size_hw=(64, 96)),
        head=HeadSpec(kind=kind, outputs={name: name for name in tensors}),
    )


@pytest.fixture
def regions() -> Tensors:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.1, 0.9, (1, REGIONS, CLASSES)).astype(np.float32)
    scores[:, :, 2] = 0.01
    return {"boxes": rng.uniform(0, 90, (1, REGIONS, CLASSES, 4)).astype(np.float32), "scores": scores}


def copies(tensors: Tensors) -> Tensors:
    return {name: value.copy() for name, value in tensors.items()}


def test_the_box_of_a_class_that_no_detection_is_made_of_does_not_matter(regions: Tensors) -> None:
    got = copies(regions)
    got["boxes"][:, :, 2] += 40
    assert compare_tensors(regions, got, spec("rcnn", regions), 0.05, where="here") == {"boxes": 0.0, "scores": 0.0}
    got["boxes"][:, :, 1] += 40
    with pytest.raises(ParityError, match="output 'boxes' differs here"):
        compare_tensors(regions, got, spec("rcnn", regions), 0.05, where="here")


def test_an_edge_near_zero_is_measured_by_the_size_of_its_box(regions: Tensors) -> None:
    wanted = copies(regions)
    wanted["boxes"][0, 3, 0] = [0.5, 0.5, 60, 80]
    got = copies(wanted)
    got["boxes"][0, 3, 0, 0] += 0.04
    errors = compare_tensors(wanted, got, spec("rcnn", regions), 0.05, where="here")
    assert errors["boxes"] == pytest.approx(0.04 / 80, rel=1e-3)


def test_regions_that_changed_places_are_put_side_by_side_with_their_own_unread_boxes(regions: Tensors) -> None:
    got = {name: value[:, ::-1].copy() for name, value in regions.items()}
    got["boxes"][:, :, 2] += 40
    assert compare_tensors(regions, got, spec("rcnn", regions), 0.05, where="here") == {"boxes": 0.0, "scores": 0.0}


def test_a_mask_may_be_off_by_a_hundredth_of_a_probability_and_no_more() -> None:
    rng = np.random.default_rng(0)
    wanted = {
        "boxes": rng.uniform(0, 90, (1, REGIONS, 4)).astype(np.float32),
        "scores": np.full((1, REGIONS), 0.9, np.float32),
        "classes": np.zeros((1, REGIONS), np.float32),
        "masks": np.zeros((1, REGIONS, 4, 4), np.float32),
    }
    got = copies(wanted)
    got["masks"] += 0.03  # of a logit, of which a quarter is the probability's change around one half
    errors = compare_tensors(wanted, got, spec("roi_masks", wanted), 0.05, where="here")
    assert errors["masks"] == pytest.approx(0.03 / 4, rel=1e-3)
    got["masks"] += 0.03
    with pytest.raises(ParityError, match="output 'masks' differs here"):
        compare_tensors(wanted, got, spec("roi_masks", wanted), 0.05, where="here")


@pytest.fixture
def network() -> TorchNetwork:
    torch.set_num_threads(1)
    detector = tiny_faster_rcnn().eval()
    detector.rpn._pre_nms_top_n["testing"] = detector.rpn._post_nms_top_n["testing"] = 400
    return TorchNetwork("tiny", detector, NAMES)


def test_the_second_stage_looks_at_300_regions_and_says_so_unless_told_otherwise(
    network: TorchNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    limited = build(network, ExportRequest(source="tiny", size=SIZE)).module
    assert limited.proposals.count == 300
    assert "looks at 300 regions instead of the network's own 400" in caplog.text
    caplog.clear()
    for wanted in (400, 250, 500):
        module = build(network, ExportRequest(source="tiny", size=SIZE, proposals=wanted)).module
        assert module.proposals.count == wanted
    assert not caplog.text
