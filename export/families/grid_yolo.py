"""The first YOLO: one output [1, B * 5 + C, S, S'], or with the channels last: x, y, w, h, confidence of each box, then the
classes of the cell.

x and y are the centre within the cell, w and h fractions of the image or their square roots, confidence * class the score:
Redmon et al., "You Only Look Once", arXiv:1506.02640, section 2. The paper's outputs are linear; `activation: sigmoid` or
`softmax` squashes the five and the classes so. How the trainer fed the network stands in the request.
"""

from typing import Any

import torch

from edgewright.export.families import Imported
from edgewright.export.model_spec import requested_labels
from edgewright.export.networks.grid_yolo import GridYolo
from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import TorchNetwork, Wrapped, trial_result
from edgewright.runtime.errors import ExportError, UsageError
from edgewright.runtime.spec import HeadSpec, PostprocessSpec, PreprocessSpec

KEYS = ("activation", "box_sizes")
TAKES_ANY_MODULE = True
_VALUES = 5  # of one box: x, y, w, h, confidence


def accepts(module: Any) -> bool:
    """Whether the module is the package's own; any other is for the user to name."""
    return isinstance(module, GridYolo)


def build(network: TorchNetwork, request: ExportRequest) -> Wrapped:
    """Boxes [1, S * S' * B, 4] as centre and size in fractions of the input, and scores [1, S * S' * B, C].

    B follows from the labels and the number of channels. Without keys, the outputs of the package's own network are squashed
    and square roots, those of any other linear and square roots, as in the paper.
    """
    if request.size is None or request.scale is None:
        raise UsageError(
            f"how {network.source} was fed is not known; pass --size H W and --scale (input = pixel * scale), and --color bgr or "
            "--resize stretch where they apply"
        )
    preprocess = PreprocessSpec(size_hw=request.size)
    labels = requested_labels(request, None)
    classes = len(labels.labels)
    cells_hw, boxes, last = _grid(network, preprocess, classes)
    activation = request.activation or ("softmax" if accepts(network.module) else "none")
    module = GridDecoder(
        network.module,
        cells_hw,
        boxes,
        classes,
        activation=activation,
        roots=request.box_sizes != "plain",
        channels_last=last,
    )
    return Wrapped(
        module=module.eval(),
        outputs=("boxes", "scores"),
        imported=Imported(
            task="detect",
            head=HeadSpec(kind="dense", outputs={"boxes": "boxes", "scores": "scores"}, boxes="cxcywh_unit"),
            preprocess=preprocess,
            postprocess=PostprocessSpec(iou_threshold=0.5),
            classes=classes,
        ),
        labels=labels,
    )


def _grid(network: TorchNetwork, preprocess: PreprocessSpec, classes: int) -> tuple[tuple[int, int], int, bool]:
    """Rows and columns of cells, boxes per cell, and whether the values of a cell come last."""
    shape = list(preprocess.tensor_shape)
    values = trial_result(network, preprocess, check="--size")
    got = list(values.shape) if isinstance(values, torch.Tensor) else type(values).__name__
    if not isinstance(got, list) or len(got) != 4 or got[0] != 1:
        raise ExportError(
            f"{network.source} returns {got} for an input of {shape}; one tensor [1, B * 5 + C, rows, columns] is wanted, or "
            "[1, rows, columns, B * 5 + C]"
        )
    height, width = preprocess.size_hw
    for values_at, rows_at, last in ((1, 2, False), (3, 1, True)):
        boxes, rest = divmod(got[values_at] - classes, _VALUES)
        if boxes >= 1 and not rest and got[rows_at] * width == got[rows_at + 1] * height:
            return (got[rows_at], got[rows_at + 1]), boxes, last
    raise ExportError(
        f"{network.source} returns {got} for an input of {shape}; with {classes} labels that is no grid of B * {_VALUES} + {classes} "
        "values per cell; check --labels and --size"
    )


class GridDecoder(torch.nn.Module):
    """The network with its decoding: boxes and scores of every box of every cell, row by row."""

    def __init__(
        self, network: Any, cells_hw: tuple[int, int], boxes: int, classes: int, *,
        activation: str, roots: bool, channels_last: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.network, self.boxes, self.classes = network, boxes, classes
        self.activation, self.roots, self.channels_last = activation, roots, channels_last
        self.cells_hw = cells_hw
        rows, columns = cells_hw
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        self.register_buffer("corners", torch.stack([x, y], -1).reshape(1, rows * columns, 1, 2).float())
        self.register_buffer("counts", torch.tensor([columns, rows]).float())

    def forward(self, images: Any) -> tuple[Any, Any]:
        cells = self.cells_hw[0] * self.cells_hw[1]
        raw = self.network(images)
        rows = raw if self.channels_last else raw.permute(0, 2, 3, 1)
        rows = rows.reshape(1, cells, self.boxes * _VALUES + self.classes)
        values = rows[..., : self.boxes * _VALUES].reshape(1, cells, self.boxes, _VALUES)
        values = values if self.activation == "none" else values.sigmoid()
        centre = (values[..., :2] + self.corners) / self.counts
        sides = values[..., 2:4].square() if self.roots else values[..., 2:4].clamp(min=0)
        scores = self._classes(rows[..., self.boxes * _VALUES :])[:, :, None] * values[..., 4:].clamp(0, 1)
        boxes = torch.cat([centre, sides], -1).reshape(1, cells * self.boxes, 4)
        return boxes, scores.reshape(1, cells * self.boxes, self.classes)

    def _classes(self, values: Any) -> Any:
        """Probabilities; linear outputs may leave 0 to 1 by a little."""
        if self.activation == "softmax":
            return values.softmax(-1)
        return values.sigmoid() if self.activation == "sigmoid" else values.clamp(0, 1)
