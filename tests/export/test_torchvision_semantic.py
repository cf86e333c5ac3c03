"""The class map of the graph and the head is that of torchvision's own forward pass."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.export.random_networks import random_network, run_graph
from torchvision.models import get_model

from edgewright.export.families.torchvision_semantic import accepts, build
from edgewright.export.request import ExportRequest
from edgewright.export.to_onnx import to_onnx
from edgewright.export.torch_source import TorchNetwork
from edgewright.runtime.conveyor import render_scene
from edgewright.runtime.preprocess import preprocess
from edgewright.runtime.results import SemanticMap

SIZE = (96, 128)


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "fcn_resnet50"])
def test_the_map_is_that_of_torchvisions_own_forward(name: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    images = [render_scene(0, index, SIZE).image for index in range(2)]
    network = random_network(lambda: get_model(name, weights=None, weights_backbone=None, num_classes=4), images)
    assert accepts(network)
    labels = tmp_path / "labels.txt"
    labels.write_text("background\na\nb\nc\n")
    wrapped = build(TorchNetwork(name, network), ExportRequest(source=name, size=SIZE, labels=str(labels)))
    tensor, _ = preprocess(images[0], wrapped.imported.preprocess)
    with torch.no_grad():
        wanted = network(torch.from_numpy(tensor))["out"][0].argmax(0).numpy()
    assert np.bincount(wanted.ravel(), minlength=4).max() < 0.95 * wanted.size

    model = to_onnx(wrapped.module, {"images": torch.from_numpy(tensor)}, wrapped.outputs, exporters=["legacy"]).model
    got = run_graph(wrapped, model, images[0])
    assert isinstance(got, SemanticMap)
    # The head leaves out classes that win in no cell nearby, which a map without training shows.
    assert np.mean(got.class_ids == wanted) > 0.99
