"""The trained reference detector as files: an ONNX graph and a note of how it was made."""

import io
import json
import platform
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from edgewright.export.reference.network import PREPROCESS, Detector, WithProbabilities
from edgewright.runtime.atomic import atomic_file

OPSET = 17


def onnx_bytes(detector: Detector) -> bytes:
    """The graph `images` [1, 3, H, W] → `output` [1, A, 5 + classes], batch norm folded, static shapes."""
    network = WithProbabilities(detector, PREPROCESS.size_hw).eval().to(memory_format=torch.contiguous_format)
    buffer = io.BytesIO()
    # The tracing exporter: the newer one has no opset 17, which every engine of the last years reads.
    torch.onnx.export(
        network,
        (torch.zeros(PREPROCESS.tensor_shape),),
        buffer,
        dynamo=False,
        opset_version=OPSET,
        input_names=["images"],
        output_names=["output"],
    )
    return buffer.getvalue()


def versions() -> dict[str, str]:
    """The versions that the weights depend on."""
    libraries = {"numpy": np.__version__, "opencv": cv2.__version__, "torch": str(torch.__version__)}
    return {"python": platform.python_version(), **libraries}


def write_release(onnx_path: Path, graph: bytes, note: dict[str, Any]) -> None:
    """Write the graph to `onnx_path` and the note beside it as JSON, each in one step."""
    with atomic_file(onnx_path) as temporary:
        temporary.write_bytes(graph)
    with atomic_file(onnx_path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
