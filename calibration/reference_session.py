"""ONNX Runtime on a model in memory: the reference that calibration observes and compares with."""

import os

import onnx

from edgewright.runtime.cpu import usable_cores

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

# Of the module, whatever the package is called that brought it (onnxruntime-gpu, ...).
VERSION = str(onnxruntime.__version__)


def reference_session(model: onnx.ModelProto, *, as_written: bool = False) -> onnxruntime.InferenceSession:
    """The model on the CPU; `as_written` keeps every quantizer where it stands, as the backend does for int8."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if as_written:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
