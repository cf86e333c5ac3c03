"""A frame becomes the input tensor that the bundle's PreprocessSpec describes."""

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
    """Turns images into tensors; owns one canvas and one tensor and reuses them, since allocating a tensor of a few MB
    costs more than filling it."""

    def __init__(self, spec: PreprocessSpec) -> None:
        self.spec = spec
        self._canvas = np.full((*spec.size_hw, spec.channels), spec.pad_value, np.uint8)
        self._placement: Placement | None = None
        self._tensor = np.empty(spec.tensor_shape, spec.dtype)
        self._table = _value_table(spec)

    def __call__(self, image: Image) -> tuple[Tensor, Placement]:
        """The tensor of a BGR uint8 image (H, W, 3), and where the image lies in it.

        The tensor is overwritten by the next call.
        """
        placement = self._put_on_canvas(_checked(image))
        self._fill_tensor()
        return self._tensor, placement

    def _put_on_canvas(self, image: Image) -> Placement:
        if self._placement is None or self._placement.source_hw != image.shape[:2]:
            self._placement = place((image.shape[0], image.shape[1]), self.spec)
            self._canvas[:] = self.spec.pad_value
        placement = self._placement
        h, w = placement.placed_hw
        x, y = placement.offset_xy
        target = self._canvas[y : y + h, x : x + w]
        source = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if self.spec.color == "gray" else image
        if source.shape[:2] == (h, w):
            np.copyto(target, source.reshape(target.shape))
        else:
            resized = cv2.resize(source, (w, h), interpolation=_INTERPOLATION[self.spec.interpolation])
            np.copyto(target, resized.reshape(target.shape))
        return placement

    def _fill_tensor(self) -> None:
        planes = cv2.split(self._canvas)
        if self.spec.color == "rgb":
            planes = planes[::-1]
        nchw = self.spec.layout == "nchw"
        for channel, plane in enumerate(planes):
            target = self._tensor[0, channel] if nchw else self._tensor[0, :, :, channel]
            if self.spec.dtype == "uint8":
                np.copyto(target, plane)
            elif nchw and self.spec.dtype == "float32":
                cv2.LUT(plane, self._table[channel], target)
            else:
                np.copyto(target, cv2.LUT(plane, self._table[channel]), casting="same_kind")


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
