"""Trained reference networks as files: weights or an ONNX graph, and a note of how they were made."""

import io
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torchvision
from torch import nn

from edgewright.export.reference.detector import PREPROCESS, Detector, WithProbabilities
from edgewright.export.torch_weights import read_state
from edgewright.runtime.atomic import atomic_file
from edgewright.runtime.errors import UsageError

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


def weights_bytes(network: nn.Module) -> bytes:
    """The weights as a safetensors file in half precision, without the counters that only training reads."""
    from safetensors.torch import save

    state = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).cpu().contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    content: bytes = save(state)
    return content


def started(make: Callable[[], nn.Module], path: Path) -> nn.Module:
    """The network of `make` with the weights of a file wherever names and shapes are alike."""
    network = make()
    own = network.state_dict()
    alike = {
        name: tensor for name, tensor in read_state(path).items() if name in own and tensor.shape == own[name].shape
    }
    if not alike:
        raise UsageError(f"{path} has no weight of a name and shape that this network has; start from another network")
    network.load_state_dict({**own, **alike})
    return network


@torch.no_grad()
def round_weights(network: nn.Module) -> None:
    """Round the weights to half precision, in which they are kept, so that the score is that of the file."""
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())


def versions() -> dict[str, str]:
    """The versions that the weights depend on."""
    libraries = {
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
    }
    return {"python": platform.python_version(), **libraries}


def device_name(device: str) -> str:
    """What trained: the GPU's name, or how many threads of which processor family."""
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    return f"{platform.machine()}, {torch.get_num_threads()} threads"


def write_release(path: Path, content: bytes, note: dict[str, Any]) -> None:
    """Write the content to `path` and the note beside it as JSON, each in one step."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
    with atomic_file(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
