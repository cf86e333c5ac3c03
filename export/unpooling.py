"""Max-unpooling written with operators that every engine has: no indices, no MaxUnpool, no scatter.

MaxPool2d says at which flat index each maximum lies, and MaxUnpool2d writes it back there. Where windows lie side by side, the
place is one of kernel x kernel in its own window, so a mask for each of them says the same.
"""

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgewright.runtime.errors import ExportError


def with_masks_for_indices(module: nn.Module) -> nn.Module:
    """A copy of the module whose max-poolings with indices and max-unpoolings work with masks; the module itself when it has no
    unpooling.

    ExportError for windows that overlap, leave gaps or reach over the edge.
    """
    if not any(isinstance(part, nn.MaxUnpool2d) for part in module.modules()):
        return module
    if isinstance(module, nn.MaxUnpool2d):
        return MaskUnpool(module)
    rewritten = copy.deepcopy(module)
    for name, part in list(rewritten.named_modules()):
        replaced = _replaced(name, part)
        if replaced is not None:
            owner, _, attribute = name.rpartition(".")
            setattr(rewritten.get_submodule(owner), attribute, replaced)
    return rewritten.train(module.training)


def _replaced(name: str, part: nn.Module) -> nn.Module | None:
    if isinstance(part, nn.MaxUnpool2d):
        return MaskUnpool(part, name)
    if isinstance(part, nn.MaxPool2d) and part.return_indices:
        return MaskPool(part, name)
    return None


class MaskPool(nn.Module):
    """Max-pooling that returns the maxima (B, C, h, w) and, in place of their indices, masks (B, C, k * k, h, w) of 0 and 1.

    Among equal values torch takes the first one in reading order, and so do the masks. They compare the values of a window
    with each other and not with the maximum: a quantized graph may round that differently.
    """

    def __init__(self, pool: nn.MaxPool2d, name: str) -> None:
        super().__init__()
        self.kernel = _kernel(pool, name)
        if pair(pool.dilation) != (1, 1) or pool.ceil_mode:
            raise ExportError(
                f"the max-pooling '{name}' has a dilation or rounds its size up; its indices cannot be rewritten for engines "
                "without MaxUnpool, use windows that lie side by side"
            )
        self.pool = nn.MaxPool2d(self.kernel)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = self.kernel
        height, width = (side // step * step for side, step in zip(features.shape[-2:], self.kernel, strict=True))
        places = [features[:, :, y:height:rows, x:width:columns] for y in range(rows) for x in range(columns)]
        return self.pool(features), torch.stack(_first_largest(places), dim=2)


class MaskUnpool(nn.Module):
    """Max-unpooling of maxima and their masks; what an odd size leaves over at the right and the bottom is 0."""

    def __init__(self, unpool: nn.MaxUnpool2d, name: str = "") -> None:
        super().__init__()
        self.kernel, self.name = _kernel(unpool, name), name

    def forward(self, features: Tensor, masks: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        rows, columns = self.kernel
        if masks.ndim != 5 or masks.shape[2] != rows * columns or masks.shape[3:] != features.shape[2:]:
            raise ExportError(
                f"the max-unpooling '{self.name}' gets indices that no MaxPool2d({rows}) of the network made for it; hand them over as "
                "they come from nn.MaxPool2d(return_indices=True)"
            )
        batch, channels, height, width = features.shape
        placed = (features.unsqueeze(2) * masks).reshape(batch, channels, rows, columns, height, width)
        whole = placed.permute(0, 1, 4, 2, 5, 3).reshape(batch, channels, height * rows, width * columns)
        if output_size is None:
            return whole
        bottom, right = (wanted - side for wanted, side in zip(output_size[-2:], whole.shape[-2:], strict=True))
        return functional.pad(whole, (0, right, 0, bottom)) if bottom or right else whole


def _first_largest(values: list[Tensor]) -> list[Tensor]:
    """For each of the tensors 1 where it holds the largest value and no earlier one does, else 0."""
    before = list(itertools.accumulate(values[:-1], torch.maximum))
    after = list(itertools.accumulate(reversed(values[1:]), torch.maximum))[::-1]
    wins = [values[0] >= after[0], *(value > best for value, best in zip(values[1:], before, strict=True))]
    for index in range(1, len(values) - 1):
        wins[index] = wins[index] & (values[index] >= after[index])
    return [win.to(values[0].dtype) for win in wins]


def _kernel(part: Any, name: str) -> tuple[int, int]:
    kernel, stride = pair(part.kernel_size), pair(part.stride)
    if kernel != stride or pair(part.padding) != (0, 0) or kernel == (1, 1):
        raise ExportError(
            f"the {type(part).__name__} '{name}' has windows of {kernel} every {stride} px with a padding of {part.padding}; "
            "engines without MaxUnpool need windows that lie side by side: stride equal to the kernel, no padding"
        )
    return kernel


def pair(value: Any) -> tuple[int, int]:
    """The size of a window as torch's layers name it: one number, or rows and columns."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
