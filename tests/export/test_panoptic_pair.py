"""A pair of a Mask R-CNN and a semantic network is one static graph that finds what its two networks find."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tests.export.random_networks import TWO_STAGE, random_network, torchvision_detections
from tests.export.test_torchvision_rcnn import IMAGES, SIZE, tiny_mask_rcnn
from torchvision.models import mobilenet_v3_small
from torchvision.models.segmentation.fcn import FCN, FCNHead

from edgewright.export.families.panoptic_pair import accepts, build
from edgewright.export.from_torch import import_torch
from edgewright.export.graph_editor import DATA_DEPENDENT
from edgewright.export.panoptic_network import PanopticPair
from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import TorchNetwork
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import UsageError
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.results import PanopticMap

LABELS = ("bolt", "nut", "washer", "clip", "belt", "tray")


class Branch(torch.nn.Module):
    """Three planes of the finest feature map: neither, belt, tray."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = torch.nn.Conv2d(16, 3, 1)

    def forward(self, maps: dict[str, Any]) -> Any:
        return self.classify(maps["0"])


def pair() -> PanopticPair:
    """A network for SIZE, whose semantic branch shares the detector's features."""
    torch.set_num_threads(1)
    detector = random_network(tiny_mask_rcnn, IMAGES, TWO_STAGE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = PanopticPair(detector, Branch(), takes="features", labels=LABELS)
        network.eval()
        return network


@pytest.fixture(scope="module")
def network() -> PanopticPair:
    return pair()


@pytest.fixture(scope="module")
def bundle(network: PanopticPair, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.export.test_panoptic_pair.pair", lambda: network)
        request = ExportRequest(source="tests.export.test_panoptic_pair:pair", size=SIZE)
        return import_torch(request, tmp_path_factory.mktemp("pair") / "bundle")


def test_the_bundle_is_static_and_both_engines_agree_with_torch(bundle: Bundle) -> None:
    shapes = {tensor.name: tensor.shape for tensor in bundle.spec.outputs}
    # 96 x 120 is padded to 96 x 128; at stride 8 the image has 12 x 15 cells.
    assert shapes["semantic"] == (1, 3, 12, 15)
    graph = onnx.load(bundle.path / "model.onnx").graph
    assert not DATA_DEPENDENT & {node.op_type for node in graph.node}
    assert bundle.manifest.parity is not None
    for backend in bundle.manifest.parity.backends:
        assert backend.problem is None
        assert backend.pixels is not None
        assert backend.pixels > 0.99


def test_things_come_from_the_detector_and_stuff_from_the_branch(bundle: Bundle, network: PanopticPair) -> None:
    assert accepts(network)
    assert bundle.spec.labels == LABELS
    assert bundle.spec.head.thing_ids == (0, 1, 2, 3)
    settings = bundle.spec.postprocess.model_copy(update={"stuff_area": 0.0})
    with open_predictor(bundle, postprocess=settings) as predictor:
        for image in IMAGES:
            found = predictor(image)
            assert isinstance(found, PanopticMap)
            sure = torchvision_detections(network.detector, image, first_label=1)
            objects = {round(s.score or 0, 3): s.class_id for s in found.segments if s.is_thing}
            known = {round(float(s), 3): int(c) for s, c in zip(sure.scores, sure.class_ids, strict=True)}
            assert objects.items() <= known.items()
            assert min(objects) >= 0.5
            _assert_stuff_follows(network, image, found)


def _assert_stuff_follows(network: PanopticPair, image: Any, found: PanopticMap) -> None:
    batch = [torch.from_numpy(image[:, :, ::-1].transpose(2, 0, 1) / np.float32(255))]
    with torch.no_grad():
        planes = network(batch)[0]["semantic"].numpy()
    # Both enlarge the map bilinearly, but the branch alone sees the cells of the padding at the right.
    strongest = planes.argmax(axis=0)[:, :-8]
    for segment_id, channel in ((0, 0), *((s.segment_id, s.class_id - 3) for s in found.segments if not s.is_thing)):
        here = strongest[found.segment_ids[:, :-8] == segment_id]
        assert np.count_nonzero(here != channel) <= 0.002 * strongest.size


def test_a_training_step_lowers_the_loss_of_both_networks() -> None:
    network = pair().train()
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    image = torch.from_numpy(IMAGES[0][:, :, ::-1].transpose(2, 0, 1) / np.float32(255))
    mask = torch.zeros(1, *SIZE, dtype=torch.uint8)
    mask[0, 20:60, 30:70] = 1
    semantic = torch.ones(SIZE, dtype=torch.int64)
    semantic[:, 60:] = 2
    target = {
        "boxes": torch.tensor([[30.0, 20, 70, 60]]), "labels": torch.tensor([2]), "masks": mask, "semantic": semantic,
    }  # fmt: skip
    semantic_losses = []
    for _ in range(3):
        losses = network([image], [dict(target)])
        semantic_losses.append(losses["loss_semantic"].item())
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert {"loss_mask", "loss_objectness", "loss_semantic"} <= losses.keys()
    assert semantic_losses[-1] < semantic_losses[0]


def test_a_network_of_its_own_may_give_the_stuff_and_its_other_channels_are_one() -> None:
    torch.set_num_threads(1)
    backbone = _Out(mobilenet_v3_small(weights=None).features)
    fcn = FCN(backbone, FCNHead(576, 5)).eval()
    both = PanopticPair(random_network(tiny_mask_rcnn, IMAGES, TWO_STAGE), fcn, stuff_channels=(4, 2)).eval()
    both.labels = LABELS
    wrapped = build(TorchNetwork("pair", both), ExportRequest(source="pair", size=SIZE))
    tensor = torch.rand(1, 3, *SIZE)
    with torch.no_grad():
        planes, own = wrapped.module(tensor)[-1][0], fcn(tensor)["out"][0]
    torch.testing.assert_close(planes[1:], own[[4, 2]])
    torch.testing.assert_close(planes[0], own[[0, 1, 3]].amax(0))


class _Out(torch.nn.Module):
    def __init__(self, features: Any) -> None:
        super().__init__()
        self.features = features

    def forward(self, images: Any) -> dict[str, Any]:
        return {"out": self.features(images)}


def test_labels_that_do_not_fit_the_two_networks_are_refused() -> None:
    network = pair()
    network.labels = LABELS[:5]
    with pytest.raises(UsageError, match="names 5 labels and has 6 classes of things and stuff"):
        build(TorchNetwork("pair", network), ExportRequest(source="pair", size=SIZE))
