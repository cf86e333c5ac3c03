"""Graph, head and NMS together find what torchvision's own forward pass finds, down to the last detection."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.export.random_networks import ONE_STAGE, TinyBackbone, random_network, run_graph, torchvision_detections
from torchvision.models import get_model
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.ssd import SSD

from edgewright.export.families.torchvision_dense import accepts, build
from edgewright.export.request import ExportRequest
from edgewright.export.to_onnx import check_static, to_onnx
from edgewright.export.torch_source import TorchNetwork
from edgewright.runtime.conveyor import render_scene
from edgewright.runtime.errors import UsageError
from edgewright.runtime.matching import match_detections
from edgewright.runtime.results import Detections

SIZE = (96, 120)  # torchvision pads the width to 128
RANGE = {"min_size": 96, "max_size": 120}


def tiny_ssd() -> Any:
    backbone = TinyBackbone()
    backbone.out_channels = [16, 16]
    # So few candidates a class that the limit decides what is found.
    return SSD(backbone, DefaultBoxGenerator([[2], [2, 3]]), (120, 96), 4, topk_candidates=30, score_thresh=0.02)


def tiny_retinanet() -> Any:
    anchors = AnchorGenerator(((16, 24), (32, 48)), ((0.5, 1.0, 2.0),) * 2)
    return RetinaNet(TinyBackbone(), 4, anchor_generator=anchors, topk_candidates=60, nms_thresh=0.4, **RANGE)


def tiny_fcos() -> Any:
    anchors = AnchorGenerator(((8,), (16,)), ((1.0,),) * 2)
    return FCOS(
        TinyBackbone(channels=32), 4, anchor_generator=anchors, topk_candidates=50, detections_per_img=40, **RANGE
    )


def ssdlite() -> Any:
    return get_model("ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=4)


@pytest.mark.parametrize(
    ("make", "size_hw", "columns"),
    [(tiny_ssd, SIZE, 3), (tiny_retinanet, SIZE, 4), (tiny_fcos, SIZE, 4), (ssdlite, (320, 320), 3)],
)
def test_all_detections_are_those_of_torchvisions_own_forward(
    make: Callable[[], Any], size_hw: tuple[int, int], columns: int, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    images = [render_scene(3, index, size_hw).image for index in range(3)]
    network = random_network(make, images, ONE_STAGE)
    assert accepts(network)
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join("abcd"[:columns]))
    wrapped = build(TorchNetwork("net", network), ExportRequest(source="net", labels=str(labels), size=size_hw))
    assert wrapped.imported.postprocess.iou_threshold == network.nms_thresh
    example = torch.zeros(wrapped.imported.preprocess.tensor_shape)
    model = to_onnx(wrapped.module, {"images": example}, wrapped.outputs, exporters=["legacy"]).model
    check_static(model)
    total = 0
    for image in images:
        wanted = torchvision_detections(network, image, first_label=4 - columns)
        got = run_graph(wrapped, model, image)
        assert isinstance(got, Detections)
        matches = match_detections(wanted, got, wrapped.imported.postprocess)
        assert (matches.lost, matches.extra) == ((), ()), matches.describe(wanted, got, wrapped.labels.labels)
        total += matches.total
    assert total > 60


def test_a_fixed_size_is_a_stretch_and_a_range_a_letterbox_for_pictures_of_four_to_three() -> None:
    fixed = build(
        TorchNetwork("ssd", tiny_ssd().eval(), ("__background__", "a", "b", "c")), ExportRequest(source="ssd")
    )
    assert (fixed.imported.preprocess.size_hw, fixed.imported.preprocess.resize) == ((96, 120), "stretch")
    ranged = build(
        TorchNetwork("r", tiny_retinanet().eval(), ("__background__", "a", "N/A", "c")), ExportRequest(source="r")
    )
    assert (ranged.imported.preprocess.size_hw, ranged.imported.preprocess.resize) == ((96, 128), "letterbox_top_left")
    assert ranged.imported.preprocess.mean == (0.485, 0.456, 0.406)


def test_names_that_stand_for_nothing_lose_their_column_and_the_others_keep_their_category_id() -> None:
    network = TorchNetwork("r", tiny_retinanet().eval(), ("__background__", "a", "N/A", "c"))
    wrapped = build(network, ExportRequest(source="r"))
    assert (wrapped.labels.labels, wrapped.labels.category_ids) == (("a", "c"), (1, 3))
    with torch.no_grad():
        assert wrapped.module(torch.zeros(1, 3, 96, 128))[1].shape[2] == 2


def test_labels_that_fit_no_way_of_counting_are_refused(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\n")
    with pytest.raises(UsageError, match="has 2 labels, net has 4 classes with the background; give the 3 names"):
        build(TorchNetwork("net", tiny_ssd().eval()), ExportRequest(source="net", labels=str(labels)))
    with pytest.raises(UsageError, match="the labels of net are missing"):
        build(TorchNetwork("net", tiny_ssd().eval()), ExportRequest(source="net"))
