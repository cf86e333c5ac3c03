"""Post-training quantization by NNCF, for OpenVINO: its own quantizers and bias correction, within this project's rules."""

import contextlib
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx

from edgewright.calibration.network import Network
from edgewright.calibration.observe import Feeds
from edgewright.calibration.plan import Plan, sites_of
from edgewright.runtime.errors import CalibrationError, first_line

_log = logging.getLogger(__name__)
# Of OpenVINO's operators, what may be quantized: everything else gains nothing and loses precision around SiLU and heads.
_QUANTIZED_TYPES = (
    "Convolution",
    "GroupConvolution",
    "ConvolutionBackpropData",
    "GroupConvolutionBackpropData",
    "MatMul",
)


def quantize_by_nncf(
    plan: Plan, network: Network, feeds: Sequence[Callable[[], Feeds]], output: Path, *, folder: Path
) -> None:
    """Write the quantized network as OpenVINO IR to `output` (.xml, with its .bin beside it).

    The layers that the plan keeps float stay float. `folder` receives a temporary ONNX file. CalibrationError when NNCF
    cannot quantize the graph, or is not installed: a search goes on with its other plans.
    """
    try:
        import nncf
    except ModuleNotFoundError as err:
        raise CalibrationError("NNCF is not installed; run: pip install 'edgewright[quantize]'") from err
    import openvino

    nncf.set_log_level(logging.ERROR)
    source = folder / "float.onnx"
    onnx.save(network.model, str(source))
    model = openvino.Core().read_model(str(source))
    ignored = nncf.IgnoredScope(names=_ignored(plan, network, model), validate=False)
    try:
        # Its progress bars go to stdout, where a result is expected.
        with contextlib.redirect_stdout(sys.stderr):
            result = _quantize(nncf, model, feeds, plan, ignored)
    except Exception as err:  # nncf raises exceptions of many kinds without a common base
        reason = first_line(err, limit=200)
        raise CalibrationError(f"NNCF cannot quantize this network ({reason}); use the plan method 'qdq'") from err
    finally:
        source.unlink(missing_ok=True)
    openvino.save_model(result, str(output), compress_to_fp16=False)


def _quantize(nncf: Any, model: Any, feeds: Sequence[Callable[[], Feeds]], plan: Plan, ignored: Any) -> Any:
    presets = {"mixed": nncf.QuantizationPreset.MIXED, "performance": nncf.QuantizationPreset.PERFORMANCE}
    return nncf.quantize(
        model,
        nncf.Dataset(list(feeds), lambda feed: feed()),
        preset=presets[plan.preset],
        target_device=nncf.TargetDevice.CPU,
        subset_size=len(feeds),
        fast_bias_correction=True,
        ignored_scope=ignored,
    )


def _ignored(plan: Plan, network: Network, model: object) -> list[str]:
    """The names of OpenVINO's operations that stay float."""
    quantized = {layer.node for layer in sites_of(plan, network).layers}
    operations = model.get_ops()  # type: ignore[attr-defined]
    return [
        operation.get_friendly_name()
        for operation in operations
        if operation.get_type_name() not in ("Parameter", "Result", "Constant", "Convert")
        and not (operation.get_type_name() in _QUANTIZED_TYPES and _node_name(operation) in quantized)
    ]


def _node_name(operation: object) -> str:
    """The ONNX node that an operation was made of; OpenVINO splits the addition of the bias off."""
    name = operation.get_friendly_name()  # type: ignore[attr-defined]
    return str(name).removesuffix("/WithoutBiases")
