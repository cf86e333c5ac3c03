"""What the DLA of a Jetson hands over to its GPU: kinds of layers that it does not have; each change of place costs a copy."""

from collections import Counter
from collections.abc import Iterator

from edgewright.pipeline.lint import Context, Finding

_SOURCE = "NVIDIA, TensorRT documentation, DLA supported layers and restrictions"
# ONNX operators of its layers: activation, comparison, concatenation, convolution, deconvolution, element-wise, LRN, PReLU,
# pooling, reduction (the maximum alone), resize, scale, shuffle, slice, softmax and unary.
LAYERS = frozenset(
    (
        "Relu", "Sigmoid", "Tanh", "Clip", "LeakyRelu", "PRelu", "Equal", "Greater", "Less", "Concat", "Conv", "ConvTranspose",
        "Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "LRN", "MaxPool", "AveragePool", "ReduceMax", "Resize",
        "BatchNormalization", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split", "Softmax", "Abs",
        "Identity",
    )
)  # fmt: skip


def check(context: Context) -> Iterator[Finding]:
    """One note for each kind of layer that runs on the GPU; nothing for a build that asks for no DLA."""
    if not context.dla:
        return
    nodes = context.network.nodes
    elsewhere = Counter(node.op_type for node in nodes if node.op_type not in LAYERS)
    for kind, count in sorted(elsewhere.items()):
        yield Finding(
            "dla-layer", "note", None,
            f"{count} of {len(nodes)} nodes are {kind}, of which the DLA has no layer: they run on the GPU",
            "export without them, or build for the GPU", _SOURCE,
        )  # fmt: skip
