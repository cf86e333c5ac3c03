"""Networks of mask and class queries give the map that transformers' own post-processing gives, also as a static graph."""

import logging
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("transformers")

import torch
from tests.export.rtx import rtx_problems
from tests.export.tiny_transformers import LABELS, SIDE, SQUARE_IMAGES, panoptic, saved
from transformers.models.eomt.image_processing_eomt import compute_segments, remove_low_and_no_objects

from edgewright.export.families.query_panoptic import accepts, build
from edgewright.export.from_torch import import_torch
from edgewright.export.graph_editor import DATA_DEPENDENT
from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import TorchNetwork
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import ExportError, UsageError
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.preprocess import preprocess
from edgewright.runtime.results import PanopticMap

STUFF = [3, 4]
THRESHOLD = 0.35
OVERLAP = 0.05  # random masks overlap much


def transformers_map(network: Any, tensor: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Segment ids from 0, -1 for none, and segments: transformers' functions without the resizing around them."""
    with torch.no_grad():
        outputs = network(pixel_values=torch.from_numpy(tensor))
        masks = torch.nn.functional.interpolate(outputs.masks_queries_logits, size=(SIDE, SIDE), mode="bilinear")
        scores, labels = outputs.class_queries_logits.softmax(-1).max(-1)
        kept = remove_low_and_no_objects(masks[0], scores[0], labels[0], THRESHOLD, len(LABELS))
        found, segments = compute_segments(*kept, stuff_classes=STUFF, overlap_mask_area_threshold=OVERLAP)
    return found.numpy(), segments


@pytest.fixture(scope="module", params=["eomt", "mask2former"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Bundle]:
    """A network and its bundle."""
    network = panoptic(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    wish = ExportRequest(
        source=f"transformers/{saved(network, folder / 'net')}", size=(SIDE, SIDE), thing_ids=(0, 1, 2),
        conf_threshold=THRESHOLD, overlap_threshold=OVERLAP,
    )  # fmt: skip
    return network, import_torch(wish, folder / "bundle")


def test_a_folder_becomes_a_static_bundle_that_gives_transformers_segments(exported: tuple[Any, Bundle]) -> None:
    network, bundle = exported
    assert accepts(network)
    assert (bundle.spec.labels, bundle.spec.head.thing_ids) == (LABELS, (0, 1, 2))
    graph = onnx.load(bundle.path / "model.onnx").graph
    assert not DATA_DEPENDENT & {node.op_type for node in graph.node}
    assert bundle.manifest.parity is not None
    assert [(b.problem, (b.pixels or 0) > 0.99) for b in bundle.manifest.parity.backends] == [(None, True)] * 2
    total = 0
    for backend in ("ort", "ov"):
        with open_predictor(bundle, backend=backend) as predictor:
            for image in SQUARE_IMAGES:
                tensor, _ = preprocess(image, bundle.spec.preprocess)
                wanted, segments = transformers_map(network, tensor)
                got = predictor(image)
                assert isinstance(got, PanopticMap)
                assert [s.class_id for s in got.segments] == [s["label_id"] for s in segments]
                assert np.mean(got.segment_ids == wanted + 1) > 0.999
                total += len(segments)
    assert total > 4


def test_tensorrt_builds_the_graph(exported: tuple[Any, Bundle]) -> None:
    assert rtx_problems(onnx.load(exported[1].path / "model.onnx")) == []


def test_maskformer_is_known_and_its_classes_are_all_things_unless_said(caplog: pytest.LogCaptureFixture) -> None:
    network = panoptic("maskformer")
    assert accepts(network)
    with caplog.at_level(logging.WARNING):
        wrapped = build(TorchNetwork("maskformer", network, LABELS), ExportRequest(source="x", size=(SIDE, SIDE)))
    assert wrapped.imported.head.thing_ids is None
    assert "does not say which of its classes are countable objects" in caplog.text


def test_the_countable_classes_of_coco_and_cityscapes_are_known() -> None:
    network = panoptic("eomt")
    cityscapes = (
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
        "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    )  # fmt: skip
    network.class_predictor = torch.nn.Linear(32, len(cityscapes) + 1)
    wrapped = build(TorchNetwork("eomt", network, cityscapes), ExportRequest(source="x"))
    assert wrapped.imported.head.thing_ids == tuple(range(11, 19))
    assert wrapped.imported.preprocess.resize == "letterbox_top_left"


def test_classes_that_do_not_exist_cannot_be_things() -> None:
    request = ExportRequest(source="x", size=(SIDE, SIDE), thing_ids=(1, 5))
    with pytest.raises(UsageError, match="thing_ids names the class 5, eomt has the classes 0 to 4"):
        build(TorchNetwork("eomt", panoptic("eomt"), LABELS), request)


def test_an_eomt_that_draws_lots_is_refused_and_is_not_changed() -> None:
    network = panoptic("eomt")
    network.attn_mask_probs.fill_(0.5)
    with pytest.raises(ExportError, match="draws lots for its masked attention"):
        build(TorchNetwork("eomt", network, LABELS), ExportRequest(source="x", size=(SIDE, SIDE)))
    network.attn_mask_probs.fill_(0)
    build(TorchNetwork("eomt", network, LABELS), ExportRequest(source="x", size=(SIDE, SIDE)))
    assert isinstance(network.attn_mask_probs, torch.Tensor)


def test_a_size_that_position_embeddings_do_not_fit_is_refused() -> None:
    with pytest.raises(ExportError, match="takes no input of 96x96"):
        build(TorchNetwork("eomt", panoptic("eomt"), LABELS), ExportRequest(source="x", size=(96, 96)))
