"""A frame becomes the input tensor that the bundle's PreprocessSpec describes."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.errors import UsageError
from edgewright.runtime.geometry import Placement, place
from edgewright.runtime.results import Image
from edgewright.runtime.spec import PreprocessSpec

Tensor = npt.NDArray[Any]

_INTERPOLATION = {
    "linear": cv2.INTER_LINEAR,
    "nearest": cv2.INTER_NEAREST,
    "area": cv2.INTER_AREA,
    "cubic": cv2.INTER_CUBIC,
}


class Preprocessor:
    """Turns images into tensors; owns its buffers and reuses them, since allocating megabytes costs more than filling them.

    What lies around the image in the tensor is filled once, as long as images have one size. `tensor` is memory to fill, such as
    a row of a batch.
    """

    def __init__(self, spec: PreprocessSpec, tensor: Tensor | None = None) -> None:
        self.spec = spec
        self._placement: Placement | None = None
        self._tensor = np.empty(spec.tensor_shape, spec.dtype) if tensor is None else tensor
        self._table = _value_table(spec)
        # The image in the size that it has in the tensor, its channels, and the parts of the tensor that these fill.
        self._resized: Image = np.empty((0, 0, 3), np.uint8)
        self._planes: list[Image] = []
        self._targets: list[Tensor] = []

    def __call__(self, image: Image) -> tuple[Tensor, Placement]:
        """The tensor of a BGR uint8 image (H, W, 3), and where the image lies in it.

        The tensor is overwritten by the next call.
        """
        image_hw = _checked(image).shape[:2]
        if self._placement is None or self._placement.source_hw != image_hw:
            self._placement = self._placed((image_hw[0], image_hw[1]))
        if self.spec.color == "gray":
            planes: list[Any] = [self._fitted(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8))]
        else:
            planes = list(cv2.split(self._fitted(image), self._planes))
            if self.spec.color == "rgb":
                planes.reverse()
        for plane, table, target in zip(planes, self._table, self._targets, strict=True):
            self._fill(target, plane, table)
        return self._tensor, self._placement

    def _placed(self, image_hw: tuple[int, int]) -> Placement:
        placement = place(image_hw, self.spec)
        (h, w), (x, y) = placement.placed_hw, placement.offset_xy
        nchw = self.spec.layout == "nchw"
        channels = [self._tensor[0, i] if nchw else self._tensor[0, :, :, i] for i in range(self.spec.channels)]
        for channel, table in zip(channels, self._table, strict=True):
            np.copyto(channel, table[self.spec.pad_value], casting="unsafe")
        self._targets = [channel[y : y + h, x : x + w] for channel in channels]
        self._resized = np.empty((h, w) if self.spec.color == "gray" else (h, w, 3), np.uint8)
        self._planes = [np.empty((h, w), np.uint8) for _ in channels]
        return placement

    def _fitted(self, image: Image) -> Image:
        h, w = self._resized.shape[:2]
        if image.shape[:2] == (h, w):
            return image
        how = _INTERPOLATION[self.spec.interpolation]
        return np.asarray(cv2.resize(image, (w, h), dst=self._resized, interpolation=how), np.uint8)

    def _fill(self, target: Tensor, plane: Image, table: npt.NDArray[np.float32]) -> None:
        if self.spec.dtype == "uint8":
            np.copyto(target, plane)
        elif self.spec.layout == "nchw" and self.spec.dtype == "float32":
            cv2.LUT(plane, table, target)
        else:
            np.copyto(target, cv2.LUT(plane, table), casting="same_kind")


class BatchPreprocessor:
    """Turns up to `size` images into the rows of one tensor; rows for which no image came hold what they held."""

    def __init__(self, spec: PreprocessSpec, size: int) -> None:
        # Zeros, for what memory holds by chance may take a processor ten times as long to compute with.
        self._tensor = np.zeros((size, *spec.tensor_shape[1:]), spec.dtype)
        self._rows = [Preprocessor(spec, self._tensor[row : row + 1]) for row in range(size)]

    def __call__(self, images: Sequence[Image]) -> tuple[Tensor, list[Placement]]:
        """The tensor, which the next call overwrites, and where each image lies in its row."""
        return self._tensor, [row(image)[1] for row, image in zip(self._rows, images, strict=False)]


def preprocess(image: Image, spec: PreprocessSpec) -> tuple[Tensor, Placement]:
    """The tensor of one image, in memory of its own; for more than one image use a Preprocessor."""
    tensor, placement = Preprocessor(spec)(image)
    return tensor, placement


def _value_table(spec: PreprocessSpec) -> npt.NDArray[np.float32]:
    """What each of the 256 grey levels becomes, per channel (C, 256): computed in double, rounded once."""
    levels = np.arange(256, dtype=np.float64)
    mean, std = np.array(spec.mean)[:, None], np.array(spec.std)[:, None]
    return np.asarray((levels * spec.scale - mean) / std, np.float32)


def _checked(image: Image) -> Image:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UsageError(
            f"an image must be BGR uint8 of shape (height, width, 3), got {image.dtype} {image.shape}; convert it with cv2 first"
        )
    return image
