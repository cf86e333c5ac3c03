"""A two-stage detector of fixed shape finds what torchvision's own forward pass finds."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.export.random_networks import TWO_STAGE, TinyBackbone, random_network, run_graph, torchvision_detections
from torchvision.models.detection import FasterRCNN, KeypointRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.ops import MultiScaleRoIAlign

from edgewright.export.families.torchvision_rcnn import accepts, build
from edgewright.export.from_torch import run_torch
from edgewright.export.graph_editor import DATA_DEPENDENT
from edgewright.export.parity import parity_images, prove_parity
from edgewright.export.request import ExportRequest
from edgewright.export.to_onnx import to_onnx
from edgewright.export.torch_source import TorchNetwork, Wrapped
from edgewright.runtime.conveyor import render_scene
from edgewright.runtime.matching import match_detections
from edgewright.runtime.results import BoxMask, Detections
from edgewright.runtime.spec import ModelSpec, TensorSpec

SIZE = (96, 120)  # torchvision pads the width to 128
IMAGES = [render_scene(5, index, SIZE).image for index in range(6)]
NAMES = ("__background__", "a", "b", "c", "d")


def tiny_faster_rcnn() -> Any:
    return FasterRCNN(
        TinyBackbone(), 5, min_size=96, max_size=120,
        rpn_anchor_generator=AnchorGenerator(((16, 24), (32, 48)), ((0.5, 1.0, 2.0),) * 2),
        box_roi_pool=MultiScaleRoIAlign(["0", "1"], 5, 2, canonical_scale=32, canonical_level=3),
        rpn_pre_nms_top_n_test=150, rpn_post_nms_top_n_test=60,
        bbox_reg_weights=(8.0, 8.0, 4.0, 4.0), box_nms_thresh=0.4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def network() -> TorchNetwork:
    torch.set_num_threads(1)
    return TorchNetwork("tiny", random_network(tiny_faster_rcnn, IMAGES, TWO_STAGE), NAMES)


def exported(network: TorchNetwork, roi: str) -> tuple[Wrapped, Any]:
    wrapped = build(network, ExportRequest(source="tiny", size=SIZE, roi="op" if roi == "op" else "grid"))
    example = torch.zeros(wrapped.imported.preprocess.tensor_shape)
    return wrapped, to_onnx(wrapped.module, {"images": example}, wrapped.outputs, exporters=["legacy"]).model


@pytest.mark.parametrize("roi", ["op", "grid"])
def test_499_of_500_detections_are_those_of_torchvisions_own_forward(network: TorchNetwork, roi: str) -> None:
    assert accepts(network.module)
    wrapped, model = exported(network, roi)
    total = strange = 0
    for image in IMAGES:
        wanted = torchvision_detections(network.module, image, first_label=1)
        got = run_graph(wrapped, model, image)
        assert isinstance(got, Detections)
        matches = match_detections(wanted, got, wrapped.imported.postprocess)
        total, strange = total + matches.total, strange + max(len(matches.lost), len(matches.extra))
    assert total > 250
    assert strange <= total / 500


@pytest.mark.parametrize("roi", ["op", "grid"])
def test_the_graph_has_static_outputs_and_no_data_dependent_operator(network: TorchNetwork, roi: str) -> None:
    _, model = exported(network, roi)
    operators = Counter(node.op_type for node in model.graph.node)
    assert not DATA_DEPENDENT & set(operators)
    assert (operators["RoiAlign"], operators["GridSample"]) == ((1, 0) if roi == "op" else (0, 1))  # for both levels
    shapes = {out.name: [dim.dim_value for dim in out.type.tensor_type.shape.dim] for out in model.graph.output}
    assert shapes == {"boxes": [1, 60, 4, 4], "scores": [1, 60, 4]}


def test_both_engines_follow_torch_on_blank_and_crowded_images(network: TorchNetwork, tmp_path: Path) -> None:
    wrapped, model = exported(network, "op")
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    spec = ModelSpec(
        name="tiny",
        task="detect",
        labels=wrapped.labels.labels,
        inputs=(TensorSpec(name="images", shape=(1, 3, *SIZE), dtype="float32"),),
        outputs=(
            TensorSpec(name="boxes", shape=(1, 60, 4, 4), dtype="float32"),
            TensorSpec(name="scores", shape=(1, 60, 4), dtype="float32"),
        ),
        preprocess=wrapped.imported.preprocess,
        head=wrapped.imported.head,
        postprocess=wrapped.imported.postprocess,
    )
    parity = prove_parity(
        lambda feeds: run_torch(wrapped, feeds), tmp_path / "model.onnx", spec, images=parity_images(SIZE)
    )
    assert [(b.problem, b.detections > 50, b.detections - b.matched) for b in parity.backends] == [(None, True, 0)] * 2


def test_the_networks_own_thresholds_are_carried_over(network: TorchNetwork) -> None:
    settings = build(network, ExportRequest(source="tiny", size=SIZE)).imported.postprocess
    assert (settings.conf_threshold, settings.iou_threshold, settings.max_detections) == (0.05, 0.4, 100)


def test_a_keypoint_network_is_not_taken_for_a_detector() -> None:
    anchors = AnchorGenerator(((16,), (32,)), ((1.0,),) * 2)
    pool = MultiScaleRoIAlign(["0", "1"], 7, 2)
    assert not accepts(
        KeypointRCNN(TinyBackbone(), 2, rpn_anchor_generator=anchors, box_roi_pool=pool, keypoint_roi_pool=pool)
    )


def tiny_mask_rcnn() -> Any:
    return MaskRCNN(
        TinyBackbone(), 5, min_size=96, max_size=120, box_detections_per_img=30,
        rpn_anchor_generator=AnchorGenerator(((16, 24), (32, 48)), ((0.5, 1.0, 2.0),) * 2),
        box_roi_pool=MultiScaleRoIAlign(["0", "1"], 5, 2, canonical_scale=32, canonical_level=3),
        mask_roi_pool=MultiScaleRoIAlign(["0", "1"], 6, 2, canonical_scale=32, canonical_level=3),
        mask_head=MaskRCNNHeads(16, (16, 256), 1),
        rpn_pre_nms_top_n_test=150, rpn_post_nms_top_n_test=60,
    )  # fmt: skip


@pytest.mark.parametrize("roi", ["op", "grid"])
def test_mask_rcnn_finds_the_same_objects_with_the_same_masks(roi: str) -> None:
    torch.set_num_threads(1)
    network = TorchNetwork("tiny", random_network(tiny_mask_rcnn, IMAGES, TWO_STAGE), NAMES)
    wrapped, model = exported(network, roi)
    assert not DATA_DEPENDENT & {node.op_type for node in model.graph.node}
    shapes = {out.name: [dim.dim_value for dim in out.type.tensor_type.shape.dim] for out in model.graph.output}
    assert shapes == {"boxes": [1, 30, 4], "scores": [1, 30], "classes": [1, 30], "masks": [1, 30, 12, 12]}
    total = strange = 0
    for image in IMAGES:
        with torch.no_grad():
            (own,) = network.module([torch.from_numpy(image[:, :, ::-1].transpose(2, 0, 1) / np.float32(255))])
        masks = tuple(BoxMask((0, 0), mask) for mask in (own["masks"][:, 0] > 0.5).numpy())
        wanted = replace(torchvision_detections(network.module, image, first_label=1), masks=masks)
        got = run_graph(wrapped, model, image, own=wanted)
        assert isinstance(got, Detections)
        matches = match_detections(wanted, got, wrapped.imported.postprocess)
        total, strange = total + matches.total, strange + max(len(matches.lost), len(matches.extra))
    assert total > 100
    assert strange <= total / 500
