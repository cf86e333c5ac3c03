"""How many detections of torchvision's own forward pass the static graph of a two-stage detector finds, in each engine.

    OMP_NUM_THREADS=2 .venv/bin/python -m tests.export.two_stage_proof maskrcnn_resnet50_fpn 224 288

Seeded random weights, recalibrated so that scores and suppression are not trivial (see random_networks.py). Masks are
compared in the network's own boxes (see export/result_parity.py).
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tests.export.random_networks import TWO_STAGE, as_outputs, random_network
from torchvision.models import get_model

from edgewright.export.families.torchvision_rcnn import build
from edgewright.export.graph_editor import tensor_spec
from edgewright.export.model_spec import model_spec
from edgewright.export.request import ExportRequest
from edgewright.export.result_parity import decode_beside
from edgewright.export.to_onnx import to_onnx
from edgewright.export.torch_source import TorchNetwork, Wrapped
from edgewright.runtime.backends import BackendOptions, open_backend
from edgewright.runtime.conveyor import render_scene
from edgewright.runtime.matching import match_detections
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.results import BoxMask, Detections, Image, Result
from edgewright.runtime.spec import ModelSpec

CLASSES = 21
REGIONS = 300


@dataclass(frozen=True)
class Proof:
    """Detections of the network's own forward pass, and by backend how many of them the graph gives and how many more."""

    detections: int
    matched: dict[str, int]
    extra: dict[str, int]


def prove(name: str, size_hw: tuple[int, int], *, pictures: int = 5, roi: str = "op") -> Proof:
    """The proof for torchvision's network `name` on pictures of the input's own size, which nobody has to resize."""
    images = [render_scene(11, index, size_hw).image for index in range(pictures)]
    network = random_network(lambda: _network(name, size_hw), images[:2], TWO_STAGE)
    names = ("__background__", *(f"class {number}" for number in range(1, CLASSES)))
    request = ExportRequest.model_validate({"source": name, "size": size_hw, "proposals": REGIONS, "roi": roi})
    wrapped = build(TorchNetwork(name, network, names), request)
    wanted = [own_detections(network, image) for image in images]
    matched, extra = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        path, spec = _exported(wrapped, request, Path(folder))
        for backend in ("ort", "ov"):
            with Predictor(spec, open_backend(backend, path, BackendOptions()), spec.postprocess) as predictor:
                found = [_beside(own, image, predictor) for own, image in zip(wanted, images, strict=True)]
            assert all(isinstance(one, Detections) for one in found)
            pairs = zip(wanted, found, strict=True)
            matches = [match_detections(a, b, spec.postprocess) for a, b in pairs if isinstance(b, Detections)]
            matched[backend] = sum(match.total - len(match.lost) for match in matches)
            extra[backend] = sum(len(match.extra) for match in matches)
    return Proof(sum(map(len, wanted)), matched, extra)


def own_detections(network: Any, image: Image) -> Detections:
    """What the network's own forward pass finds, with the masks that it pastes, if it makes any."""
    rgb = torch.from_numpy(image[:, :, ::-1].transpose(2, 0, 1).copy()).float() / 255
    with torch.no_grad():
        (found,) = network([rgb])
    boxes, scores, labels = (found[key].numpy() for key in ("boxes", "scores", "labels"))
    masks = tuple(BoxMask((0, 0), mask) for mask in (found["masks"][:, 0] > 0.5).numpy()) if "masks" in found else None
    return Detections(boxes, scores, labels - 1, masks)


def _beside(own: Detections, image: Image, predictor: Predictor) -> Result:
    feeds, placement = predictor.prepare(image)
    outputs, spec = predictor.infer(feeds), predictor.spec
    return decode_beside(as_outputs(own, spec), outputs, spec, placement, spec.postprocess)


def _network(name: str, size_hw: tuple[int, int]) -> Any:
    sizes = {"min_size": min(size_hw), "max_size": max(size_hw)}
    regions = {"rpn_pre_nms_top_n_test": 1000, "rpn_post_nms_top_n_test": REGIONS}
    return get_model(name, weights=None, weights_backbone=None, num_classes=CLASSES, **sizes, **regions)


def _exported(wrapped: Wrapped, request: ExportRequest, folder: Path) -> tuple[Path, ModelSpec]:
    example = torch.zeros(wrapped.imported.preprocess.tensor_shape)
    model = to_onnx(wrapped.module, {"images": example}, wrapped.outputs).model
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    spec = model_spec(
        request,
        wrapped.imported,
        wrapped.labels,
        inputs=tuple(tensor_spec(value) for value in model.graph.input),
        outputs=tuple(tensor_spec(value) for value in model.graph.output),
    )
    return folder / "model.onnx", spec


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(f"{prove(sys.argv[1], (int(sys.argv[2]), int(sys.argv[3])))}\n")
