"""The first YOLO: the picture is a grid of S x S cells, and each cell says B boxes with confidence and one set of classes.

Redmon et al., "You Only Look Once: Unified, Real-Time Object Detection", arXiv:1506.02640, section 2.
"""

from torch import Tensor, nn


class GridYolo(nn.Module):
    """Pictures (B, 3, H, W) to raw values (B, boxes_per_cell * 5 + classes, H / 32, W / 32); H and W are multiples of 32.

    The channels of a cell are x, y, w, h and confidence of each box, one box after another, then the classes. All are raw:
    `export.families.grid_yolo` applies a sigmoid to the five and a softmax to the classes; x and y are then the centre within
    the cell, w and h the square roots of the fractions of the picture's size, and score = confidence * class. The first stage
    has `width` channels (paper: 64), and the last convolutions see nearly the whole picture, as the paper's dense layers do.
    """

    stride = 32

    def __init__(self, classes: int, *, boxes_per_cell: int = 2, width: int = 16) -> None:
        super().__init__()
        self.classes, self.boxes_per_cell = classes, boxes_per_cell
        w = width
        self.features = nn.Sequential(
            _conv(3, w, 2), _conv(w, w),
            _conv(w, 2 * w, 2), _conv(2 * w, 2 * w),
            _conv(2 * w, 4 * w, 2), _conv(4 * w, 4 * w), _conv(4 * w, 4 * w),
            _conv(4 * w, 8 * w, 2), _conv(8 * w, 8 * w), _conv(8 * w, 8 * w),
            _conv(8 * w, 8 * w, 2), _conv(8 * w, 8 * w), _conv(8 * w, 8 * w),
        )  # fmt: skip
        self.predictor = nn.Conv2d(8 * w, boxes_per_cell * 5 + classes, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.predictor(self.features(pictures))


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1, inplace=True))
