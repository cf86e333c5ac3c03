"""What OpenVINO's CPU plugin miscomputes or cannot load."""

from collections.abc import Iterator

from edgewright.calibration.network import Network
from edgewright.export.unsigned import is_signed
from edgewright.pipeline.lint import Context, Finding

_MEASURED = "measured on OpenVINO 2024.6 to 2026.4; tests/export/test_unsigned.py repeats it"


def check(context: Context) -> Iterator[Finding]:
    """Signed activations, and shapes that the data decide."""
    network = context.network
    if is_signed(network.model):
        level = "error" if any(node.op_type == "Concat" for node in network.nodes) else "warning"
        yield Finding(
            "signed-activations",
            "error" if level == "error" else "warning",
            None,
            "activations are quantized to signed int8, which the CPU plugin miscomputes around Concat, by tens of percent",
            "quantize with --target openvino, or import the file, which rewrites it as unsigned",
            _MEASURED,
        )
    for node in network.nodes:
        if node.op_type in ("NonZero", "NonMaxSuppression", "Loop", "If"):
            yield Finding(
                "data-dependent",
                "warning",
                node.name,
                f"{node.op_type} makes shapes dynamic, which is slower and, around a Loop, may not load",
                "export with static shapes",
                _MEASURED,
            )
    yield from _dynamic(network)


def _dynamic(network: Network) -> Iterator[Finding]:
    for value in network.model.graph.input:
        if any(not dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim):
            yield Finding(
                "dynamic", "warning", value.name, "its shape is not static, which costs speed", "fix the input size", _MEASURED
            )  # fmt: skip
