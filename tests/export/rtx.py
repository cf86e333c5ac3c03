"""NVIDIA's own parser and builder, which work without a GPU."""

from typing import Any

import onnx
import pytest


def rtx_problems(model: onnx.ModelProto) -> list[str]:
    """What TensorRT-RTX's parser or builder says against the graph, for a GPU of the Ampere generation; empty: it builds.

    The test is skipped where the package is not installed.
    """
    trt: Any = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        return [
            f"{parser.get_error(i).node_operator()}: {parser.get_error(i).desc()}" for i in range(parser.num_errors)
        ]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    return [] if builder.build_serialized_network(network, config) is not None else ["the builder gives no engine"]
