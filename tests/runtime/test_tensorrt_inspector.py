"""Layers as TensorRT really described them: excerpts of public reports, each with its source."""

import json
from typing import Any

import pytest

from edgewright.runtime.errors import BackendError
from edgewright.runtime.tensorrt.inspector import engine_layers, layer_precisions

# NVIDIA/TensorRT issue 3737, comment of 2024-03-27: YOLOv8, int8, TensorRT 8.6.
INT8_CONVOLUTION: dict[str, Any] = {
    "Name": "/model.22/cv2.1/cv2.1.0/conv/Conv + /model.22/cv2.1/cv2.1.0/act/Relu || /model.22/cv3.1/cv3.1.0/conv/Conv + ...",
    "LayerType": "CaskConvolution",
    "Inputs": [
        {
            "Name": "/model.18/cv2/act/Relu_output_0",
            "Location": "Device",
            "Dimensions": [1, 128, 40, 40],
            "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format",
        }
    ],
    "Outputs": [
        {
            "Name": "/model.22/cv2.1/cv2.1.0/conv/Conv + ...",
            "Location": "Device",
            "Dimensions": [1, 144, 40, 40],
            "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format",
        }
    ],
    "ParameterType": "Convolution",
    "Kernel": [3, 3],
    "OutMaps": 144,
    "Groups": 1,
    "Weights": {"Type": "Int8", "Count": 165888},
    "Bias": {"Type": "Float", "Count": 144},
    "Activation": "RELU",
}
# NVIDIA/TensorRT issue 4020, comment of 2024-07-22: trtexec of the container 24.06 (TensorRT 10.1).
REFORMAT: dict[str, Any] = {
    "Name": "Reformatting CopyNode for Input Tensor 0 to resnetv15_conv0_fwd + resnetv15_batchnorm0_fwd + ...",
    "LayerType": "Reformat",
    "Inputs": [
        {
            "Name": "data",
            "Location": "Device",
            "Dimensions": [1, 3, 224, 224],
            "Format/Datatype": "Row major linear FP32",
        }
    ],
    "Outputs": [
        {
            "Name": "Reformatted Input Tensor 0 to resnetv15_conv0_fwd + ...",
            "Location": "Device",
            "Dimensions": [1, 3, 224, 224],
            "Format/Datatype": "Row major Int8 format",
        }
    ],
    "ParameterType": "Reformat",
    "Origin": "REFORMAT",
    "TacticValue": "0x00000000000003e8",
    "StreamId": 0,
    "Metadata": "",
}
# NVIDIA/TensorRT issue 4397: two layers of Myelin in TensorRT 10, there as text, here as JSON.
KERNEL: dict[str, Any] = {
    "Name": "__myl_AddCastMeanSubMulMeanAddSqrtDivMulCastMulAdd_myl0_68",
    "LayerType": "kgen",
    "Inputs": [
        {"Name": "__myln_k_arg__bb1_72", "Dimensions": [1, 40, 256], "Format/Datatype": "Half"},
        {"Name": "__mye55934_69", "Dimensions": [1, 40, 256], "Format/Datatype": "Half"},
    ],
    "Outputs": [{"Name": "__myln_k_arg__bb1_73", "Dimensions": [1, 40, 256], "Format/Datatype": "Half"}],
    "TacticName": "__myl_AddCastMeanSubMulMeanAddSqrtDivMulCastMulAdd_0xf2543c36ff9f104bbb1655b0183afb47",
}
FUSION: dict[str, Any] = {
    "Name": "__myl_Fc_myl0_69",
    "LayerType": "fusion",
    "Inputs": [{"Name": "__myln_k_arg__bb1_73", "Dimensions": [1, 40, 256], "Format/Datatype": "Half"}],
    "Outputs": [{"Name": "/encoder/layers_9/...", "Dimensions": [1, 40, 1024], "Format/Datatype": "Half"}],
    "TacticName": "sm80_xmma_gemm_f16f16_f16f16_f16_nn_n_tilesize32x32x64_stage6_warpsize2x2x1_tensor16x8x16_by_fusion_tactic",
}


def test_what_layers_compute_in_is_read_from_their_weights_or_their_inputs() -> None:
    text = json.dumps({"Layers": [REFORMAT, INT8_CONVOLUTION, KERNEL, FUSION], "Bindings": ["data", "output"]})
    layers = engine_layers(text)
    assert [layer.computes_in for layer in layers] == ["fp32", "int8", "fp16", "fp16"]
    assert [layer.converts for layer in layers] == [True, False, False, False]
    assert list(layer_precisions(layers).values()) == ["int8", "fp16"]


def test_the_form_of_tensorrt_11_has_format_and_type_apart() -> None:
    """NVIDIA, "Migrating IEngineInspector usage from TensorRT 10.x to 11.x": DataType and Format are fields of their own."""
    layer = {**INT8_CONVOLUTION, "Weights": {"Type": "Int8", "Count": 0}}
    layer["Inputs"] = [
        {
            "Name": "x",
            "Dimensions": [1, 128, 40, 40],
            "Format": "Row major linear FP32 format (kLINEAR)",
            "DataType": "Int8",
        }
    ]
    tensor = {
        "Name": "input_0",
        "IOMode": "Input",
        "DataType": "Float",
        "Dimensions": [1, 3, 224, 224],
        "Location": "Device",
        "IsShapeInferenceIO": False,
        "ProfileInfo": [{"Format": "Row major linear FP32 format (kLINEAR)"}],
    }
    layers = engine_layers(json.dumps({"Layers": [layer], "I/O Tensors": [tensor]}))
    assert layer_precisions(layers) == {str(layer["Name"]): "int8"}


def test_an_engine_without_detailed_profiling_has_names_alone() -> None:
    """NVIDIA/trt-samples-for-hackathon-cn issue 18: modelInformation.txt of TensorRT 8.4."""
    text = """{"Layers": ["Conv__25 + Relu"
,"MaxPool2d"
,"Reformatting CopyNode for Output Tensor 0 to MaxPool2d"
,"Conv__27 + Relu_1"
],
"Bindings": ["x:0"
,"z:0"
]}"""
    layers = engine_layers(text)
    assert [layer.name for layer in layers][:2] == ["Conv__25 + Relu", "MaxPool2d"]
    assert layer_precisions(layers) == {}


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"Layers": [3]}', '{"Layers": [{"LayerType": "kgen"}]}'])
def test_another_text_is_refused_with_what_to_do(text: str) -> None:
    with pytest.raises(BackendError, match="build the engine again with detailed profiling"):
        engine_layers(text)
