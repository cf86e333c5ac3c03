"""How a network is quantized, as data: the same plan gives the same graph for every engine."""

import hashlib
import json
from pathlib import Path
from typing import Literal

import onnx
from pydantic import ValidationError

from edgewright.calibration.collectors import threshold
from edgewright.calibration.network import Network
from edgewright.calibration.observe import Observation
from edgewright.calibration.qdq import Activation, Range, ranges_of, write_qdq
from edgewright.calibration.sites import Sites, choose_sites
from edgewright.runtime.bundle import first_problem
from edgewright.runtime.errors import UsageError
from edgewright.runtime.spec import Strict


class Plan(Strict):
    """`collector` sets the ranges, `float_layers` are nodes that stay float beside the heads and narrow layers.

    `method` "nncf" leaves the quantizers to NNCF, which knows OpenVINO's kernels; "qdq" writes them by this project's rules.
    `weight_bits` 7 is for x86 without VNNI, where products of 8 bits overflow.
    """

    method: Literal["qdq", "nncf"] = "qdq"
    collector: str = "percentile"
    preset: Literal["mixed", "performance"] = "mixed"
    weight_bits: Literal[7, 8] = 8
    depthwise: bool = True
    keep_heads: bool = True
    float_layers: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Identifies the plan in file names and caches."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()[:12]

    def describe(self) -> str:
        """The plan in a few words."""
        words = ["NNCF " + self.preset if self.method == "nncf" else self.collector]
        if self.weight_bits != 8:
            words.append(f"{self.weight_bits}-bit weights")
        if not self.depthwise:
            words.append("depthwise float")
        if not self.keep_heads:
            words.append("heads too")
        if self.float_layers:
            words.append(f"{len(self.float_layers)} layers float")
        return ", ".join(words)


def read_plan(path: Path) -> Plan:
    """The plan in a file; UsageError when there is none."""
    try:
        plan = Plan.model_validate_json(path.read_bytes())
    except OSError as err:
        raise UsageError(
            f"plan {path} cannot be read: {err.strerror}; give calibration/plan.json of a quantized bundle"
        ) from err
    except ValidationError as err:
        raise UsageError(
            f"plan {path}: {first_problem(err)}; give calibration/plan.json of a quantized bundle"
        ) from err
    if not plan.model_fields_set:
        raise UsageError(f"plan {path} says nothing; give calibration/plan.json of a quantized bundle")
    return plan


def sites_of(plan: Plan, network: Network) -> Sites:
    """The places that the plan quantizes."""
    return choose_sites(network, float_layers=plan.float_layers, keep_heads=plan.keep_heads, depthwise=plan.depthwise)


def ranges(plan: Plan, observation: Observation) -> dict[str, Range]:
    """The range of every observed tensor by the plan's collector."""
    seen = observation.histograms
    limits = {name: threshold(plan.collector, histogram) for name, histogram in seen.items()}
    return ranges_of(limits, lambda name: (seen[name].low, seen[name].high))


def quantized(plan: Plan, network: Network, observation: Observation, *, activation: Activation) -> onnx.ModelProto:
    """The network with the plan's quantizers written into it."""
    return write_qdq(
        network,
        sites_of(plan, network),
        ranges(plan, observation),
        activation=activation,
        weight_bits=plan.weight_bits,
    )
