"""What TensorRT-RTX makes of the graphs of two-stage networks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.export.rtx import rtx_problems
from tests.export.test_region_networks import fast_align, fast_max, fast_pyramid, rcnn
from tests.export.test_torchvision_rcnn import tiny_faster_rcnn, tiny_mask_rcnn

from edgewright.export.families import region_classifier, torchvision_rcnn
from edgewright.export.request import ExportRequest
from edgewright.export.to_onnx import to_onnx
from edgewright.export.torch_source import TorchNetwork


def graph(make: Callable[[], Any], folder: Path, roi: str) -> Any:
    (folder / "labels.txt").write_text(
        "a\nb\nc\n" if make not in (tiny_faster_rcnn, tiny_mask_rcnn) else "a\nb\nc\nd\n"
    )
    torch.set_num_threads(1)
    network = TorchNetwork("tiny", make().eval())
    family = region_classifier if region_classifier.accepts(network.module) else torchvision_rcnn
    request = {"source": "tiny", "labels": str(folder / "labels.txt"), "size": (64, 96), "proposals": 40, "roi": roi}
    wrapped = family.build(network, ExportRequest.model_validate(request))
    inputs = {"images": torch.zeros(wrapped.imported.preprocess.tensor_shape), **wrapped.examples}
    return to_onnx(wrapped.module, inputs, wrapped.outputs, exporters=["legacy"]).model


@pytest.mark.parametrize("make", [rcnn, fast_align, fast_pyramid, tiny_faster_rcnn, tiny_mask_rcnn])
def test_the_form_with_grid_sample_parses_and_builds_without_a_plugin(make: Callable[[], Any], tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    assert rtx_problems(graph(make, tmp_path, "grid")) == []


def test_the_parser_rejects_roi_pool_as_the_export_says(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    (problem,) = rtx_problems(graph(fast_max, tmp_path, "op"))
    assert "MaxRoiPool" in problem
    assert "which ONNX Runtime and OpenVINO have and TensorRT's parser rejects" in caplog.text
