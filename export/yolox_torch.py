"""YOLOX as a torch module: the official class, or one that gives the same rows or maps."""

from typing import Any

import torch

from edgewright.export.families import yolox
from edgewright.export.families._grid import cell_grid
from edgewright.export.model_spec import requested_labels
from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import TorchNetwork, Wrapped, trial_result
from edgewright.runtime.errors import ExportError
from edgewright.runtime.spec import PreprocessSpec

_DEFAULT_SIZE = (416, 416)
_FEWEST_VALUES = 6  # x, y, w, h, objectness, one class


def wrap(network: TorchNetwork, request: ExportRequest) -> Wrapped:
    """Boxes [1, A, 4] as centre and size in pixels of the input, and scores [1, A, C] = objectness * class.

    The module returns rows [1, A, 5 + C] in grid units, or the map [1, 5 + C, h, w] of every level from the finest on;
    objectness and classes are probabilities, or logits when the request says `activation: sigmoid`.
    """
    size_hw = request.size or _DEFAULT_SIZE
    # The official class decodes to pixels unless its head is told not to; so the decoding is the same for all.
    if hasattr(getattr(network.module, "head", None), "decode_in_inference"):
        network.module.head.decode_in_inference = False
    anchors, values = _rows_shape(network, size_hw)
    strides = {len(cell_grid(size_hw, levels)): levels for levels in yolox.STRIDES}.get(anchors)
    if strides is None or values < _FEWEST_VALUES:
        raise ExportError(
            f"{network.source} gives {anchors} rows of {values} values at {size_hw[0]}x{size_hw[1]}, family yolox wants {yolox.EXPECTS}; "
            "check --family and --size"
        )
    classes = values - 5
    module = _Decoder(network.module, cell_grid(size_hw, strides), logits=yolox.gives_logits(request))
    return Wrapped(
        module=module.eval(),
        outputs=("boxes", "scores"),
        imported=yolox.imported(size_hw, classes),
        labels=requested_labels(request, classes),
    )


def _rows_shape(network: TorchNetwork, size_hw: tuple[int, int]) -> tuple[int, int]:
    rows = _rows(trial_result(network, PreprocessSpec(size_hw=size_hw), check="--size"))
    if not isinstance(rows, torch.Tensor) or rows.ndim != 3 or rows.shape[0] != 1:
        got = list(rows.shape) if isinstance(rows, torch.Tensor) else type(rows).__name__
        raise ExportError(f"{network.source} returns {got}; rows {yolox.EXPECTS} are wanted, or the map of every level")
    return int(rows.shape[1]), int(rows.shape[2])


def _rows(result: Any) -> Any:
    """Rows of all levels from maps of each; rows stay what they are."""
    if isinstance(result, tuple | list) and result and all(getattr(level, "ndim", 0) == 4 for level in result):
        return torch.cat([level.flatten(2) for level in result], dim=2).transpose(1, 2)
    return result[0] if isinstance(result, tuple | list) and len(result) == 1 else result


class _Decoder(torch.nn.Module):
    def __init__(self, network: Any, cells: Any, *, logits: bool) -> None:
        super().__init__()
        self.network, self.logits = network, logits
        self.register_buffer("corners", torch.from_numpy(cells[None, :, :2].copy()))
        self.register_buffer("strides", torch.from_numpy(cells[None, :, 2:].copy()))

    def forward(self, images: Any) -> tuple[Any, Any]:
        raw = _rows(self.network(images))
        sure = raw[..., 4:].sigmoid() if self.logits else raw[..., 4:]
        boxes = torch.cat([(raw[..., :2] + self.corners) * self.strides, raw[..., 2:4].exp() * self.strides], -1)
        return boxes, sure[..., 1:] * sure[..., :1]
