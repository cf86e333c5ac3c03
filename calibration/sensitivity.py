"""Which layers suffer most from quantization: each alone, measured on what the network says."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy.typing as npt
import onnxruntime

from edgewright.calibration.damage import damage
from edgewright.calibration.network import Network
from edgewright.calibration.observe import Feeds
from edgewright.calibration.qdq import Range, write_qdq
from edgewright.calibration.reference_session import reference_session
from edgewright.calibration.sites import Layer, Sites
from edgewright.runtime.spec import ModelSpec, Strict


class LayerDamage(Strict):
    """The damage of quantizing this layer alone, from 0 to about 1 (see `damage`)."""

    layer: str
    kind: str
    damage: float


def rank_layers(
    network: Network,
    sites: Sites,
    ranges: dict[str, Range],
    feeds: Sequence[Callable[[], Feeds]],
    spec: ModelSpec,
    *,
    known: dict[str, float] | None = None,
    tell: Callable[[LayerDamage, int, int], None] = lambda layer, done, total: None,
) -> tuple[LayerDamage, ...]:
    """Every layer of `sites` with its damage over the inputs of `feeds`, the worst first.

    `known` holds damages of an interrupted run, which are not measured again.
    """
    inputs = [feed() for feed in feeds]
    floats = reference_session(network.model)
    wanted = [_run(floats, one) for one in inputs]
    ranked = []
    for number, layer in enumerate(sites.layers, start=1):
        value = (known or {}).get(layer.node)
        if value is None:
            value = _alone(network, sites, layer, ranges, inputs, wanted, spec)
        ranked.append(LayerDamage(layer=layer.node, kind=layer.kind, damage=value))
        tell(ranked[-1], number, len(sites.layers))
    return tuple(sorted(ranked, key=lambda entry: -entry.damage))


def _alone(
    network: Network,
    sites: Sites,
    layer: Layer,
    ranges: dict[str, Range],
    inputs: Sequence[Feeds],
    wanted: Sequence[dict[str, npt.NDArray[Any]]],
    spec: ModelSpec,
) -> float:
    # Scales are shared as in the whole network: a layer may suffer from the range of its neighbour.
    only = replace(sites, layers=(layer,), skips=(), groups=())
    shared = {**ranges}
    for group in sites.groups:
        if layer.activation in group:
            members = [ranges[name] for name in group]
            shared[layer.activation] = Range(min(m.low for m in members), max(m.high for m in members))
    session = reference_session(write_qdq(network, only, shared), as_written=True)
    total = sum(damage(reference, _run(session, one), spec) for one, reference in zip(inputs, wanted, strict=True))
    return total / len(inputs)


def _run(session: onnxruntime.InferenceSession, feeds: Feeds) -> dict[str, npt.NDArray[Any]]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))
