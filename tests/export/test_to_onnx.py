"""What a torch module becomes: expected values are torch's own outputs."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from edgewright.export import to_onnx as exporters
from edgewright.export.graph_editor import DATA_DEPENDENT
from edgewright.export.to_onnx import check_static, to_onnx
from edgewright.runtime.errors import ExportError


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


class TwoBranches(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5))

    def forward(self, images: Any) -> tuple[Any, Any]:
        features = self.conv(images).relu()
        return features, features.flatten(2).mean(2)


class NormOfConstants(torch.nn.Module):
    """As the queries of a transformer, whose norm the optimizer thinks about and leaves, for it has several outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.norm = torch.nn.Parameter(torch.randn(5, 8)), torch.nn.LayerNorm(8)

    def forward(self, images: Any) -> Any:
        return self.norm(self.queries) + images.mean()


class AboveZero(torch.nn.Module):
    def forward(self, images: Any) -> tuple[Any, Any]:
        return images * 2, images[images > 0]


@pytest.mark.parametrize(("exporter", "opset"), [("dynamo", 20), ("legacy", 18)])
def test_either_exporter_gives_the_outputs_of_torch_in_fixed_shapes(exporter: str, opset: int) -> None:
    module, image = TwoBranches(), torch.randn(1, 3, 17, 23)
    converted = to_onnx(module, {"images": image}, ("features", "means"), exporters=[exporter])
    assert (converted.exporter, converted.opset) == (f"torch {exporter}", opset)
    assert not DATA_DEPENDENT & {node.op_type for node in converted.model.graph.node}
    session = onnxruntime.InferenceSession(converted.model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [(out.name, out.shape) for out in session.get_outputs()] == [("features", [1, 4, 8, 11]), ("means", [1, 4])]
    with torch.no_grad():
        wanted = module(image)
    for got, tensor in zip(session.run(None, {"images": image.numpy()}), wanted, strict=True):
        np.testing.assert_allclose(got, tensor.numpy(), atol=1e-5)


def test_the_legacy_exporter_is_tried_when_dynamo_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(job: Any) -> onnx.ModelProto:
        raise RuntimeError("no such operator")

    monkeypatch.setitem(exporters._EXPORTERS, "dynamo", fail)
    assert to_onnx(TwoBranches(), {"images": torch.zeros(1, 3, 9, 9)}, ("a", "b")).exporter == "torch legacy"
    monkeypatch.setitem(exporters._EXPORTERS, "legacy", fail)
    with pytest.raises(ExportError, match="dynamo: RuntimeError: no such operator; legacy: RuntimeError: no such"):
        to_onnx(TwoBranches(), {"images": torch.zeros(1, 3, 9, 9)}, ("a", "b"))


def test_the_whole_network_is_in_evaluation_mode_afterwards() -> None:
    module = TwoBranches().train()
    to_onnx(module, {"images": torch.zeros(1, 3, 9, 9)}, ("a", "b"), exporters=["legacy"])
    assert not any(part.training for part in module.modules())


def test_a_data_dependent_output_is_refused_by_name_with_its_operator_and_the_way_out() -> None:
    with pytest.raises(ExportError, match=r"^output 'positive' depends on NonZero .* wrap the network"):
        to_onnx(AboveZero(), {"images": torch.ones(1, 3, 4, 4)}, ("doubled", "positive"))


def test_an_output_whose_size_follows_a_value_is_refused_with_its_dimension() -> None:
    class Cut(torch.nn.Module):
        def forward(self, images: Any) -> Any:
            return images[:, :, : max(int(images.sum().item()) % 3, 1)]

    with pytest.raises(ExportError, match=r"^output 'rows' changes its size with the picture, in dimension 2; wrap"):
        to_onnx(Cut(), {"images": torch.ones(1, 3, 4, 4)}, ("rows",))


def test_a_way_through_the_network_that_follows_a_value_is_reported_with_its_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Branch(torch.nn.Module):
        def forward(self, images: Any) -> Any:
            if images.sum() > 0:
                return images * 2
            return images

    to_onnx(Branch(), {"images": torch.ones(1, 3, 4, 4)}, ("out",))
    assert "test_to_onnx.py, line" in caplog.text
    assert "if images.sum() > 0:" in caplog.text


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (lambda x: {"boxes": x}, "returns a dict of boxes, 2 tensor"),
        (lambda x: [x, {"a": x}], "returns a list of 2: Tensor, dict"),
        (lambda x: x, "2 tensor"),
        (lambda x: x.reshape(7), r"fails on the input images \[1, 3, 4, 4\]: RuntimeError: shape"),
    ],
)
def test_a_network_that_does_not_return_the_wanted_tensors_is_refused(result: Any, sentence: str) -> None:
    class Odd(torch.nn.Module):
        def forward(self, images: Any) -> Any:
            return result(images)

    with pytest.raises(ExportError, match=sentence):
        to_onnx(Odd(), {"images": torch.ones(1, 3, 4, 4)}, ("boxes", "scores"))


def test_a_symbolic_dimension_and_a_foreign_operator_are_refused() -> None:
    def model(domain: str, size: int | str) -> onnx.ModelProto:
        node = helper.make_node("Relu", ["x"], ["y"], name="last", domain=domain)
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name in ("x", "y")]
        return helper.make_model(helper.make_graph([node], "g", values[:1], values[1:]))

    check_static(model("", 3))
    with pytest.raises(ExportError, match=r"'x' has the shape \[1, 'n'\]"):
        check_static(model("", "n"))
    with pytest.raises(ExportError, match=r"node 'last' is com.vendor.Relu"):
        check_static(model("com.vendor", 3))


def test_what_the_optimizer_leaves_alone_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    to_onnx(NormOfConstants(), {"images": torch.randn(1, 3, 8, 8)}, ("found",), exporters=["dynamo"])
    assert "constant folding" not in caplog.text
