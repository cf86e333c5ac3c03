"""Torch runs with the decisions of a graph: which value of a window is the largest, where max-unpooling puts it back there.

Torch and an engine round differently. Of two almost equal values in a window each may take another one for the largest, and
max-unpooling then puts it at another pixel: the outputs of a faithful graph differ as much as they like. So a copy of the graph
gives its masks as well, the network's own code runs with them, and only then are outputs compared. A decision must be right up
to rounding, and few may be other than torch's own.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from edgewright.export.unpooling import MaskPool, pair, with_masks_for_indices
from edgewright.runtime.bundle import PoolingDecisions
from edgewright.runtime.errors import ExportError, ParityError

_Result = TypeVar("_Result")

_SHORTFALL = 1e-4  # of the tensor's largest value: what rounding may add up to on the way to it
_OTHERWISE = 0.01  # of the windows of one pooling: near ties are rare


def with_decisions(module: nn.Module, inputs: Sequence[Tensor]) -> tuple[nn.Module, tuple[str, ...]]:
    """The module as `with_masks_for_indices` rewrites it, giving the masks of its max-poolings after its own outputs, in the order
    they run, and names for these; of a module that does not unpool, itself and no names."""
    rewritten = with_masks_for_indices(module)
    if rewritten is module:
        return module, ()
    runs: list[None] = []
    with torch.no_grad(), _hooked(module, nn.MaxPool2d, lambda pool, given, made: runs.append(None)):
        module(*inputs)
    return _WithDecisions(rewritten), tuple(f"decisions_{number}" for number in range(len(runs)))


def following(
    module: nn.Module, masks: Sequence[Tensor], run: Callable[[], _Result], *, where: str
) -> tuple[_Result, tuple[PoolingDecisions, ...]]:
    """What `run` gives when the max-poolings of the module take the places that `masks` mark, and how each differs from its own.

    `masks` are (B, C, k * k, h, w), one for every pooling that runs, in order.
    ParityError for a mask that marks no place or several, for a place whose value is not the largest, and when too many windows
    are decided otherwise than the module itself would, as by another rule for equal values.
    """
    found: list[PoolingDecisions] = []

    def decide(pool: nn.MaxPool2d, given: tuple[Tensor], made: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        place = f"of max-pooling {len(found)} {where}"
        if not given[0].isfinite().all():
            raise ExportError(
                f"the network itself gives NaN or infinity to the windows {place}: check its weights, and --scale, --mean and --std"
            )
        chosen = _indices(masks[len(found)], pair(pool.kernel_size), given[0].shape[-1], place)
        found.append(_checked(given[0], *made, chosen, place))
        return made[0], chosen

    with torch.no_grad(), _hooked(module, nn.MaxPool2d, decide):
        result = run()
    return result, tuple(found)


class _WithDecisions(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Any) -> tuple[Tensor, ...]:
        masks: list[Tensor] = []
        with _hooked(self.module, MaskPool, lambda pool, given, made: masks.append(made[1])):
            result = self.module(*inputs)
        return (*((result,) if isinstance(result, Tensor) else result), *masks)


def _indices(masks: Tensor, kernel: tuple[int, int], width: int, place: str) -> Tensor:
    """The flat indices (B, C, h, w) into maps of `width` that the masks (B, C, k * k, h, w) mark."""
    if not (((masks == 0) | (masks == 1)).all() and (masks.sum(dim=2) == 1).all()):
        raise ParityError(f"the masks {place} do not mark one place in every window; report this")
    marked = masks.argmax(dim=2)
    rows, columns = (torch.arange(count) * step for count, step in zip(marked.shape[-2:], kernel, strict=True))
    y = rows[:, None] + torch.div(marked, kernel[1], rounding_mode="floor")
    return y * width + columns + marked % kernel[1]


def _checked(features: Tensor, largest: Tensor, own: Tensor, chosen: Tensor, place: str) -> PoolingDecisions:
    value = features.flatten(2).gather(2, chosen.flatten(2)).view_as(largest)
    missing = float((largest - value).max()) / max(float(features.abs().max()), torch.finfo(features.dtype).tiny)
    otherwise = int((chosen != own).sum())
    if not missing <= _SHORTFALL:
        raise ParityError(
            f"the graph takes a value for the largest of its window {place} that falls short of it by {missing:.3g} of the tensor's "
            f"largest value, rounding explains {_SHORTFALL:g}; report this"
        )
    if otherwise > math.ceil(_OTHERWISE * own.numel()):
        raise ParityError(
            f"the graph takes another value than the network {place} in {otherwise} of {own.numel()} windows, rounding explains "
            f"{_OTHERWISE:.0%}; report this"
        )
    return PoolingDecisions(windows=own.numel(), otherwise=otherwise, shortfall=missing)


@contextmanager
def _hooked(module: nn.Module, kind: type[nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    """Inside, `hook` sees what the max-poolings of this kind that return indices are given and make, and may replace that."""
    with ExitStack() as stack:
        for part in module.modules():
            if isinstance(part, kind) and getattr(part, "return_indices", True):
                stack.callback(part.register_forward_hook(hook).remove)
        yield
