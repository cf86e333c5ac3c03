"""Max-unpooling with masks does what torch does with indices, ties included, and every engine can load it."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from edgewright.export.networks.segnet import SegNet
from edgewright.export.to_onnx import to_onnx
from edgewright.export.unpooling import with_masks_for_indices
from edgewright.runtime.errors import ExportError


class Decoder(nn.Module):
    """Pools, and puts what a transposed convolution made of the maxima back; the user's own code passes indices on."""

    def __init__(self, kernel: Any = 2, *, sized: bool = False, **options: Any) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(kernel, return_indices=True, **options)
        self.deconvolve = nn.ConvTranspose2d(3, 3, 3, padding=1)
        self.unpool = nn.MaxUnpool2d(kernel)
        self.sized = sized

    def forward(self, images: Any) -> Any:
        pooled, indices = self.pool(images)
        size = images.shape[-2:] if self.sized else None
        return self.unpool(self.deconvolve(pooled), indices, output_size=size)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def difference(module: nn.Module, images: Any) -> float:
    with torch.no_grad():
        return float((module(images) - with_masks_for_indices(module)(images)).abs().max())


@pytest.mark.parametrize("kernel", [2, 3, (2, 3), (1, 4)])
def test_masks_give_what_indices_give_for_any_window(kernel: Any) -> None:
    assert difference(Decoder(kernel), torch.randn(2, 3, 12, 24)) == 0


def test_among_equal_values_the_first_one_wins_as_in_torch() -> None:
    # After a ReLU most windows are all zeros; rounded values make every kind of tie.
    images = torch.randint(-2, 3, (1, 3, 64, 96)).float().relu()
    assert difference(Decoder(2), images) == 0
    assert difference(Decoder(3), images[..., :63, :]) == 0
    assert difference(Decoder(2), torch.zeros(1, 3, 8, 8)) == 0


def test_an_odd_size_is_restored_where_the_module_names_it() -> None:
    assert difference(Decoder(2, sized=True), torch.randn(1, 3, 11, 15)) == 0


def test_segnet_keeps_its_answer_and_the_given_network_its_layers() -> None:
    network = SegNet(3, width=4, depth=3).eval()
    assert difference(network, torch.rand(1, 3, 32, 40)) == 0
    assert isinstance(network.unpool, nn.MaxUnpool2d)
    plain = nn.Sequential(nn.Conv2d(3, 3, 1), nn.MaxPool2d(2))
    assert with_masks_for_indices(plain) is plain


def test_the_graph_has_standard_operators_alone_and_agrees_with_torch() -> None:
    network, images = SegNet(3, width=4, depth=2).eval(), torch.rand(1, 3, 16, 24)
    model = to_onnx(with_masks_for_indices(network), {"images": images}, ["logits"], exporters=["legacy"]).model
    kinds = {node.op_type for node in model.graph.node}
    assert not kinds & {"MaxUnpool", "ScatterND", "ScatterElements", "NonZero", "GatherND"}
    # TensorRT refuses a MaxPool with indices.
    assert all(len(node.output) == 1 for node in model.graph.node if node.op_type == "MaxPool")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        wanted = network(images).numpy()
    np.testing.assert_allclose(session.run(None, {"images": images.numpy()})[0], wanted, atol=1e-5)


def test_tensorrt_rtx_parses_and_builds_the_graph_of_a_max_unpooling_decoder() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    module = with_masks_for_indices(Decoder(2).eval())
    model = to_onnx(module, {"images": torch.rand(1, 3, 16, 24)}, ["features"], exporters=["legacy"]).model
    assert "ConvTranspose" in {node.op_type for node in model.graph.node}
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(model.SerializeToString()), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    assert builder.build_serialized_network(network, config) is not None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"stride": 1}, "windows that lie side by side"),
        ({"padding": 1}, "windows that lie side by side"),
        ({"ceil_mode": True}, "rounds its size up"),
        ({"dilation": 2}, "has a dilation"),
    ],
)
def test_windows_that_overlap_or_leave_the_picture_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ExportError, match=sentence):
        with_masks_for_indices(Decoder(2, **options))


def test_indices_of_another_window_are_refused() -> None:
    module = Decoder(2)
    module.unpool = nn.MaxUnpool2d(3)
    with pytest.raises(ExportError, match="hand them over as they come"):
        with_masks_for_indices(module)(torch.rand(1, 3, 12, 12))
