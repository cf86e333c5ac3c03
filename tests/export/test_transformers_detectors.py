"""DETR-like detectors find what transformers' own post-processing finds, before and after export."""

import json
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("transformers")

import torch
import transformers
from tests.export.rtx import rtx_problems
from tests.export.tiny_transformers import IMAGES, LABELS, SIZE, detector, saved

from edgewright.export.families.detr import accepts, build
from edgewright.export.from_torch import import_torch, run_torch
from edgewright.export.graph_editor import DATA_DEPENDENT
from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import TorchNetwork
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.geometry import clip_boxes, place
from edgewright.runtime.heads import load_head
from edgewright.runtime.matching import match_detections
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.preprocess import preprocess
from edgewright.runtime.results import Detections
from edgewright.runtime.spec import ModelSpec, PostprocessSpec, TensorSpec

# D-FINE has no image processor of its own; its networks are published with RT-DETR's.
PROCESSORS = {
    "detr": transformers.DetrImageProcessor,
    "yolos": transformers.YolosImageProcessor,
    "conditional_detr": transformers.ConditionalDetrImageProcessor,
    "deformable_detr": transformers.DeformableDetrImageProcessor,
    "rt_detr": transformers.RTDetrImageProcessor,
    "rt_detr_v2": transformers.RTDetrImageProcessor,
    "d_fine": transformers.RTDetrImageProcessor,
}


def transformers_detections(kind: str, network: Any, tensor: Any, size_hw: tuple[int, int]) -> Detections:
    with torch.no_grad():
        outputs = network(pixel_values=torch.from_numpy(tensor))
    (found,) = PROCESSORS[kind]().post_process_object_detection(outputs, threshold=0.2, target_sizes=[size_hw])
    boxes = clip_boxes(found["boxes"].numpy(), size_hw)
    return Detections(boxes, found["scores"].numpy(), found["labels"].numpy())


@pytest.mark.parametrize("kind", sorted(PROCESSORS))
def test_the_wrapped_network_finds_what_transformers_post_processing_finds(kind: str) -> None:
    network = detector(kind)
    assert accepts(network)
    wrapped = build(TorchNetwork(kind, network, LABELS), ExportRequest(source=kind, size=SIZE))
    imported = wrapped.imported
    spec = ModelSpec(
        name=kind,
        task="detect",
        labels=wrapped.labels.labels,
        inputs=(),
        outputs=tuple(TensorSpec(name=name, shape=(1,), dtype="float32") for name in wrapped.outputs),
        preprocess=imported.preprocess,
        head=imported.head,
    )
    settings = PostprocessSpec(conf_threshold=0.2, max_detections=300)
    total = 0
    for image in IMAGES:
        tensor, _ = preprocess(image, imported.preprocess)
        size_hw = (200, 333)
        wanted = transformers_detections(kind, network, tensor, size_hw)
        outputs = run_torch(wrapped, {"images": tensor})
        got = load_head(spec)(outputs, spec, place(size_hw, imported.preprocess), settings)
        assert isinstance(got, Detections)
        matches = match_detections(wanted, got, settings)
        assert (matches.lost, matches.extra) == ((), ())
        total += matches.total
    assert total > 10


@pytest.fixture(scope="module", params=["detr", "rt_detr", "rt_detr_v2", "d_fine"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Bundle]:
    """A kind of detectors, one of them, and its bundle."""
    network, folder = detector(request.param), tmp_path_factory.mktemp(request.param)
    saved(network, folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"size": {"height": SIZE[0], "width": SIZE[1]}, "do_normalize": False, "image_mean": [0.5] * 3})
    )
    wish = ExportRequest(source=f"transformers/{folder}", conf_threshold=0.2)
    return request.param, network, import_torch(wish, folder / "bundle")


def test_tensorrt_builds_the_graph(exported: tuple[str, Any, Bundle]) -> None:
    assert rtx_problems(onnx.load(exported[2].path / "model.onnx")) == []


def test_a_folder_becomes_a_static_bundle_that_both_engines_run_alike(exported: tuple[str, Any, Bundle]) -> None:
    kind, network, bundle = exported
    spec = bundle.spec
    assert (spec.labels, spec.head.kind, spec.preprocess.size_hw) == (LABELS, "final", SIZE)
    assert (spec.preprocess.mean, spec.preprocess.resize) == ((0.0, 0.0, 0.0), "stretch")
    graph = onnx.load(bundle.path / "model.onnx").graph
    assert not DATA_DEPENDENT & {node.op_type for node in graph.node}
    assert bundle.manifest.parity is not None
    assert [(b.problem, b.detections > 20, b.detections - b.matched) for b in bundle.manifest.parity.backends] == [
        (None, True, 0)
    ] * 2
    with open_predictor(bundle) as predictor:
        tensor, _ = preprocess(IMAGES[0], spec.preprocess)
        wanted = transformers_detections(kind, network, tensor, SIZE)
        got = predictor(IMAGES[0])
        assert isinstance(got, Detections)
        assert match_detections(wanted, got, spec.postprocess).lost == ()


def test_names_that_stand_for_nothing_are_left_out_and_their_ids_kept() -> None:
    network = detector("yolos")
    names = ("N/A", "nut", "washer", "N/A", "belt")
    wrapped = build(TorchNetwork("yolos", network, names), ExportRequest(source="yolos", size=SIZE))
    assert wrapped.labels.labels == ("nut", "washer", "belt")
    assert wrapped.labels.category_ids == (1, 2, 4)
    tensor, _ = preprocess(IMAGES[0], wrapped.imported.preprocess)
    with torch.no_grad():
        logits = network(pixel_values=torch.from_numpy(tensor)).logits.softmax(-1)[0]
    outputs = run_torch(wrapped, {"images": tensor})
    np.testing.assert_allclose(outputs["scores"][0], logits[:, [1, 2, 4]].amax(-1).numpy(), atol=1e-6)
    assert set(outputs["classes"][0].tolist()) <= {0, 1, 2}
