"""How two ways to make an input tensor of a picture differ."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.tensor_difference import Named
from edgewright.runtime.errors import UsageError
from edgewright.runtime.geometry import Placement
from edgewright.runtime.preprocess import preprocess
from edgewright.runtime.results import Image
from edgewright.runtime.spec import ModelSpec, PreprocessSpec

Array = npt.NDArray[Any]
Prepared = tuple[Array, Placement]

# In the order in which they act, with what they are called.
_FIELDS = {
    "size_hw": "input size",
    "resize": "resize",
    "rounding": "rounding of the resized side",
    "interpolation": "interpolation",
    "pad_value": "padding",
    "color": "colour order",
    "scale": "value scale",
    "mean": "mean",
    "std": "standard deviation",
    "layout": "layout",
    "dtype": "element type",
}
_RESIZES = {
    "letterbox": "letterboxes to the centre",
    "letterbox_top_left": "letterboxes into the top left corner",
    "stretch": "stretches",
}
# A fitted relation that leaves more than this share of B's variance unexplained explains nothing.
_EXPLAINED = 1e-3


class _Fit(NamedTuple):
    """B's channels as gain * A's + offset; `exchanged`: of A's channels in reverse order."""

    exchanged: bool
    gain: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]
    unexplained: float


def inputs_agree(a: Prepared, b: Prepared, spec_a: ModelSpec, spec_b: ModelSpec) -> tuple[bool, str]:
    """Whether two input tensors are the same but for rounding, and how far they differ."""
    (tensor_a, place_a), (tensor_b, place_b) = a, b
    if tensor_a.shape != tensor_b.shape:
        return False, f"{list(tensor_a.shape)} in A, {list(tensor_b.shape)} in B"
    largest = float(np.abs(tensor_a.astype(np.float64) - tensor_b).max(initial=0.0))
    # A hundredth of a grey level: float16 keeps three digits.
    level = _level(spec_a.preprocess)
    agrees = bool(
        largest <= level / 100 and place_a == place_b and spec_a.preprocess.layout == spec_b.preprocess.layout
    )
    return agrees, f"by up to {largest:.3g}, {largest / level:.3g} grey levels of A"


def input_settings(a: PreprocessSpec, b: PreprocessSpec) -> tuple[str, ...]:
    """The differing settings in words, in the order in which they act."""
    return tuple(title for field, title in _FIELDS.items() if getattr(a, field) != getattr(b, field))


def name_input_difference(image: Image, a: Prepared, b: Prepared, spec_a: ModelSpec, spec_b: ModelSpec) -> Named:
    """The settings that make the tensors of `image` differ, the one with the largest effect first, with the evidence."""
    first, second = spec_a.preprocess, spec_b.preprocess
    effects = {
        field: _effect(image, a[0], first, field, getattr(second, field))
        for field in _FIELDS
        if getattr(first, field) != getattr(second, field)
    }
    fields = sorted((field for field, effect in effects.items() if effect > 0), key=lambda f: -effects[f])
    told = [_told(field, first, second) for field in fields] or ["the settings are alike but the tensors are not"]
    evidence = _evidence(a, b, first, second)
    repair = ", ".join(f"`{field}: {_shown(getattr(first, field))}`" for field in fields)
    return Named(
        kind=fields[0] if fields else "unknown",
        sentence=f"{'; '.join(told)} ({evidence})",
        advice=f"if A is right, export B again with {repair}; what counts is how the network was trained",
    )


def _effect(image: Image, tensor: Array, spec: PreprocessSpec, field: str, value: Any) -> float:
    """How far A's tensor moves in grey levels when this setting alone becomes B's; infinite when it changes the shape."""
    try:
        changed = PreprocessSpec.model_validate({**spec.model_dump(), field: value})
        other, _ = preprocess(image, changed)
    except (ValueError, UsageError):
        return np.inf  # Of another number of channels, or of another type: not to be tried alone.
    if other.shape != tensor.shape:
        return np.inf
    return float(np.abs(other.astype(np.float64) - tensor).mean()) / _level(spec)


def _told(field: str, a: PreprocessSpec, b: PreprocessSpec) -> str:
    ours, theirs = getattr(a, field), getattr(b, field)
    title = _FIELDS[field]
    if field == "color":
        return f"{title}: A feeds {ours.upper()}, B {theirs.upper()}"
    if field == "resize":
        return f"{title}: A {_RESIZES[ours]}, B {_RESIZES[theirs]}"
    if field == "scale":
        return f"{title}: A multiplies pixels by {_shown(ours)}, B by {_shown(theirs)}"
    return f"{title}: {_shown(ours)} in A, {_shown(theirs)} in B"


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_shown(item) for item in value)}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _evidence(a: Prepared, b: Prepared, spec_a: PreprocessSpec, spec_b: PreprocessSpec) -> str:
    """What the tensors themselves say: where the picture lies, else how B's values follow from A's."""
    (tensor_a, place_a), (tensor_b, place_b) = a, b
    if place_a != place_b or spec_a.size_hw != spec_b.size_hw:
        return f"the picture is {_placed(place_a)} in A, {_placed(place_b)} in B"
    fit = _best_fit(_planes(tensor_a, spec_a), _planes(tensor_b, spec_b))
    if fit is None:
        return f"values {_range(tensor_a)} in A, {_range(tensor_b)} in B"
    return f"B = {_relation(fit)}; values {_range(tensor_a)} in A, {_range(tensor_b)} in B"


def _placed(place: Placement) -> str:
    return f"{place.placed_hw[1]} x {place.placed_hw[0]} at ({place.offset_xy[0]}, {place.offset_xy[1]})"


def _range(tensor: Array) -> str:
    return f"{float(tensor.min()):.3g} to {float(tensor.max()):.3g}"


def _planes(tensor: Array, spec: PreprocessSpec) -> npt.NDArray[np.float64]:
    """The channels (C, n)."""
    channels = tensor[0] if spec.layout == "nchw" else np.moveaxis(tensor[0], -1, 0)
    return np.asarray(channels.reshape(len(channels), -1), np.float64)


def _best_fit(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> _Fit | None:
    if a.shape != b.shape:
        return None
    fits = [_fit(a, b, exchanged=False), _fit(a[::-1], b, exchanged=True)]
    best = min(fits, key=lambda fit: fit.unexplained)
    return best if best.unexplained <= _EXPLAINED else None


def _fit(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], *, exchanged: bool) -> _Fit:
    """Least squares for each channel."""
    mean_a, mean_b = a.mean(axis=1, keepdims=True), b.mean(axis=1, keepdims=True)
    variance = ((a - mean_a) ** 2).mean(axis=1)
    gain = np.divide(
        ((a - mean_a) * (b - mean_b)).mean(axis=1), variance, out=np.ones_like(variance), where=variance > 0
    )
    offset = mean_b[:, 0] - gain * mean_a[:, 0]
    residual = float(((b - gain[:, None] * a - offset[:, None]) ** 2).mean())
    total = float(((b - mean_b) ** 2).mean())
    return _Fit(exchanged, gain, offset, residual / total if total > 0 else 0.0)


def _relation(fit: _Fit) -> str:
    gain, offset = (_one_or_all(values) for values in (fit.gain, fit.offset))
    of = "A with the channels exchanged" if fit.exchanged else "A"
    scaled = of if gain == "1" else f"{gain} * {of}"
    return scaled if offset == "0" else f"{scaled} + {offset}"


def _one_or_all(values: npt.NDArray[np.float64]) -> str:
    texts = [f"{value:.4g}" for value in np.where(np.abs(values) < 1e-6, 0.0, values)]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"


def _level(spec: PreprocessSpec) -> float:
    """What one grey level is in the tensor."""
    return abs(spec.scale) / max(abs(value) for value in spec.std)
