"""Will this graph parse and build there, and compute what is written: rules with their sources, checked without the device."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import onnx

from edgewright.calibration.network import (
    Network,
    constants_to_initializers,
    copied,
    infer_shapes,
    name_nodes,
    opset_of,
)
from edgewright.runtime import plugins
from edgewright.runtime.tensorrt.targets import Dialect, Target

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found: where (a node or tensor, None for the whole graph), what, what to do, and who says so."""

    rule: str
    level: Level
    where: str | None
    message: str
    remedy: str
    source: str


@dataclass(frozen=True)
class Context:
    """The graph with what it is checked for; `precision` is what it will be built in, `dla` whether for a DLA."""

    network: Network
    opset: int
    target: Target
    precision: str
    dialect: Dialect
    dla: bool = False


Check = Callable[[Context], Iterator[Finding]]


def lint(
    model: onnx.ModelProto,
    target: Target,
    *,
    precision: str = "fp32",
    dialect: Dialect | None = None,
    dla: bool = False,
) -> list[Finding]:
    """Everything that the rules of the target's kind find, errors first, in the order of the graph.

    `dialect` None is the target's own. A rule set is a file of this folder with `check(context)`; those of OpenVINO are in
    `openvino_rules`, all others are TensorRT's.
    """
    copy = copied(model)
    constants_to_initializers(copy.graph)
    name_nodes(copy.graph)
    network = Network(infer_shapes(copy))
    context = Context(network, opset_of(model), target, precision, dialect or target.dialect, dla)
    wanted = ("openvino_rules",) if target.name == "openvino" else rule_sets()
    found = [finding for name in wanted for finding in plugins.load(__name__, name).check(context)]
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda finding: order[finding.level])


def rule_sets() -> tuple[str, ...]:
    """The rule sets of TensorRT."""
    return tuple(name for name in plugins.names(__name__) if name.endswith("_rules") and name != "openvino_rules")


def verdict(findings: list[Finding]) -> Literal["ok", "doubtful", "fails"]:
    """`fails` with an error, `doubtful` with a warning."""
    levels = {finding.level for finding in findings}
    return "fails" if "error" in levels else "doubtful" if "warning" in levels else "ok"
