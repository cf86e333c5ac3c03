"""What TensorRT's engine inspector says of an engine's layers, as JSON of the form up to 10 and of the form of 11."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edgewright.runtime.errors import BackendError

# Words of formats ("Row major Int8 format") and of types ("Half") -> how they are reported, longer words first.
_TYPES = (
    ("bfloat16", "bf16"), ("bf16", "bf16"), ("fp16", "fp16"), ("half", "fp16"), ("fp32", "fp32"), ("float", "fp32"), ("tf32", "fp32"),
    ("uint8", "uint8"), ("int8", "int8"), ("fp8", "fp8"), ("int4", "int4"), ("fp4", "fp4"), ("int32", "int32"), ("int64", "int64"),
    ("bool", "bool"),
)  # fmt: skip
_PRODUCTS = re.compile(r"conv|gemm|matrixmultiply|fullyconnected|matmul", re.IGNORECASE)


@dataclass(frozen=True)
class Layer:
    """One layer of an engine; `computes_in` is the type of its weights, else of its inputs, None where it is not told."""

    name: str
    kind: str
    computes_in: str | None
    multiplies: bool

    @property
    def converts(self) -> bool:
        """Whether it does nothing but change format or type."""
        return self.kind == "Reformat"


def engine_layers(text: str) -> tuple[Layer, ...]:
    """The layers of what `get_engine_information(JSON)` or `trtexec --exportLayerInfo` wrote; BackendError for another text.

    Of an engine that was not built with detailed profiling there are names alone.
    """
    try:
        content = json.loads(text)
        return tuple(_layer(entry) for entry in content["Layers"])
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        raise BackendError(
            f"the engine inspector's text is not understood ({type(err).__name__}: {err}); build the engine again with detailed profiling"
        ) from err


def layer_precisions(layers: Iterable[Layer]) -> dict[str, str]:
    """What every convolution and matrix product computes in, by the layer's name."""
    return {layer.name: layer.computes_in for layer in layers if layer.multiplies and layer.computes_in is not None}


def _layer(entry: Any) -> Layer:
    if isinstance(entry, str):
        return Layer(entry, "", None, multiplies=False)
    kind = str(entry.get("LayerType", ""))
    # Of fused layers ("kgen", "fusion") only the tactic says what they are.
    described = (
        f"{kind} {entry.get('ParameterType', '')} {entry.get('TacticName', '') if kind in ('fusion', 'gemm') else ''}"
    )
    return Layer(
        str(entry["Name"]), kind, _computes_in(entry), bool(_PRODUCTS.search(described)) and kind != "Reformat"
    )


def _computes_in(entry: dict[str, Any]) -> str | None:
    weights = entry.get("Weights")
    if isinstance(weights, dict) and weights.get("Count"):
        return _type(str(weights.get("Type", "")))
    return next((kind for tensor in entry.get("Inputs", ()) if (kind := _tensor_type(tensor))), None)


def _tensor_type(tensor: dict[str, Any]) -> str | None:
    """Up to 10 format and type are one field; 11 has two, and its documentation spells the second in two ways."""
    for field in ("DataType", "Datatype", "Format/Datatype", "Format/DataType"):
        if field in tensor:
            return _type(str(tensor[field]))
    return None


def _type(text: str) -> str | None:
    lower = text.lower()
    return next((name for word, name in _TYPES if word in lower), None)
