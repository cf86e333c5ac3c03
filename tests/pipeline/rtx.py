"""TensorRT-RTX as an oracle: NVIDIA's ONNX parser and builder of TensorRT 11, which run without a GPU."""

from typing import Any

import onnx
import pytest


def bindings() -> Any:
    """The module; the test is skipped where it is not installed."""
    return pytest.importorskip("tensorrt_rtx", reason="the optional package tensorrt-rtx is not installed")


class Oracle:
    """One logger and builder for the process: a second logger would be ignored."""

    def __init__(self) -> None:
        self.trt = bindings()
        self.logger = self.trt.Logger(self.trt.Logger.INTERNAL_ERROR)
        self.builder = self.trt.Builder(self.logger)

    def problem(self, model: onnx.ModelProto, *, build: bool = True) -> str | None:
        """What the parser or the builder says against a network; None when it builds."""
        network = self.builder.create_network(0)
        parser = self.trt.OnnxParser(network, self.logger)
        if not parser.parse(model.SerializeToString()):
            return str(parser.get_error(parser.num_errors - 1).desc()) if parser.num_errors else "not parsed"
        if not build:
            return None
        config = self.builder.create_builder_config()
        plan = self.builder.build_serialized_network(network, config)
        return "not built" if plan is None else None
