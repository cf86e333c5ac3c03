"""Heads turn the outputs of a graph into results; the runtime knows heads, never families.

A head is one file with `ROLES` (the output roles that a HeadSpec of this kind must name; further ones are `OPTIONAL_ROLES`,
or exactly one of `ONE_OF`; a head that decodes different sets of outputs has `ROLE_SETS` instead), `TASKS`, and
`decode(outputs by role, spec, placement, settings) -> Result`. One that removes doubles by `PostprocessSpec.nms` has `SUPPRESSES`.
"""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgewright.runtime import plugins
from edgewright.runtime.errors import BackendError, BundleError, UsageError
from edgewright.runtime.geometry import Placement, to_xyxy
from edgewright.runtime.nms import suppressor
from edgewright.runtime.results import Boxes, Result
from edgewright.runtime.spec import HeadSpec, ModelSpec, PostprocessSpec

Outputs = Mapping[str, npt.NDArray[Any]]


class Decode(Protocol):
    def __call__(
        self, outputs: Outputs, spec: ModelSpec, placement: Placement, settings: PostprocessSpec
    ) -> Result: ...


def load_head(spec: ModelSpec) -> Decode:
    """The decode function of the head that `spec` names; BundleError when its output roles do not fit."""
    module = plugins.load(__name__, spec.head.kind)
    named, sets = set(spec.head.outputs), _role_sets(module)
    if named - set(getattr(module, "OPTIONAL_ROLES", ())) not in [set(roles) for roles in sets]:
        raise BundleError(
            f"a {spec.head.kind} head wants the outputs {' or '.join(str(sorted(roles)) for roles in sets)}, the manifest "
            f"names {sorted(named)}; export the bundle again"
        )
    decode: Decode = module.decode
    return decode


def check_suppression(spec: ModelSpec, variant: str) -> None:
    """UsageError unless there is such an NMS variant, and the network's head leaves room for one."""
    suppressor(variant)
    if not getattr(plugins.load(__name__, spec.head.kind), "SUPPRESSES", False):
        raise UsageError(
            f"NMS variant '{variant}' has no place in {spec.name}: what its {spec.head.kind} head gets is without doubles; "
            "leave --nms (nms in a recipe) out"
        )


def _role_sets(module: ModuleType) -> Sequence[Sequence[str]]:
    one_of = getattr(module, "ONE_OF", ())
    if one_of:
        return [(*module.ROLES, role) for role in one_of]
    sets: Sequence[Sequence[str]] = getattr(module, "ROLE_SETS", None) or [module.ROLES]
    return sets


def boxes_to_pixels(boxes: npt.NDArray[Any], head: HeadSpec, size_hw: tuple[int, int]) -> Boxes:
    """Boxes (N, 4) in the head's format → x1 y1 x2 y2 float32 in pixels of the input tensor of `size_hw`."""
    pixels = np.asarray(boxes, np.float32)
    if head.boxes.endswith("_unit"):
        h, w = size_hw
        pixels = pixels * np.array([w, h, w, h], np.float32)
    return to_xyxy(pixels) if head.boxes.startswith("cxcywh") else pixels


def check_finite(values: npt.NDArray[Any], role: str) -> None:
    """BackendError when `values` hold NaN or infinity: better than a detector that silently sees nothing."""
    if values.size and not np.isfinite(values.max() - values.min()):
        raise BackendError(
            f"the network's output '{role}' holds NaN or infinity; the precision overflows or the input is damaged: "
            "try --precision fp32, then `edgewright verify`"
        )
