"""From error texts, as people have posted them, to what mends them."""

import re

import pytest

from edgewright.pipeline.doctor.explain import explain
from edgewright.pipeline.doctor.failures import FAILURES, Failure

# Source -> what was posted there, cut to the lines around the error, and which failure it is.
POSTED = {
    "ultralytics/ultralytics issue 22930": (
        'File "/usr/lib/python3.8/dist-packages/tensorrt/__init__.py", line 166, in nptype\n    bool: np.bool,\n'
        "AttributeError: module 'numpy' has no attribute 'bool'.\n`np.bool` was a deprecated alias for the builtin `bool`.",
        "numpy-bool",
    ),
    "Comfy-Org/ComfyUI issue 5289": (
        "AttributeError: _ARRAY_API not found\nOpenCV not installed\n\nA module that was compiled using NumPy 1.x cannot be run in\n"
        "NumPy 2.1.2 as it may crash. To support both 1.x and 2.x\nversions of NumPy, modules must be compiled with NumPy 2.0.",
        "numpy-2",
    ),
    "dusty-nv/jetson-containers issue 1576": (
        "/test/test/test_tensorrt.sh: line 3: /usr/src/tensorrt/bin/trtexec: No such file or directory\nTraceback (most recent "
        "call last):\n  File \"<string>\", line 1, in <module>\nModuleNotFoundError: No module named 'tensorrt'",
        "tensorrt-not-seen",
    ),
    "NVIDIA/TensorRT issue 2879": (
        "[04/15/2023-04:37:46] [W] [TRT] Unable to determine GPU memory usage\n[04/15/2023-04:37:46] [W] [TRT] CUDA initialization "
        "failure with error: 35. Please check your CUDA installation:  http://docs.nvidia.com/cuda/cuda-installation-guide-linux",
        "driver-too-old",
    ),
    "NVIDIA/TensorRT issue 149": (
        "[E] [TRT] Cuda initialization failure with error 100. Please check cuda installation:",
        "no-gpu",
    ),
    "4paradigm/phanthymotus pull request 154": (
        "ImportError: libnvdla_compiler.so: cannot open shared object file\n  → TensorRTError: TensorRT is not available in this "
        "runtime",
        "jetson-library-empty",
    ),
    "dusty-nv/jetson-inference issue 1736": (
        "imagenet: error while loading shared libraries: /usr/lib/aarch64-linux-gnu/libnvinfer.so.8: file too short",
        "jetson-library-empty",
    ),
    "NVIDIA/retinanet-examples issue 314": (
        "6: The engine plan file is not compatible with this version of TensorRT, expecting library version 8.0.0 got 8.0.1, please "
        "rebuild.\n4: [runtime.cpp::deserializeCudaEngine::74] Error Code 4: Internal Error (Engine deserialization failed.)",
        "engine-of-another-version",
    ),
    "NVIDIA/TensorRT issue 2195": (
        "[TRT] [E] 1: [stdArchiveReader.cpp::StdArchiveReader::35] Error Code 1: Serialization (Serialization assertion "
        "safeVersionRead == safeSerializationVersion failed.Version tag does not match. Note: Current Version: 0, Serialized Engine "
        "Version: 96)",
        "engine-of-another-version",
    ),
    "LizhenWangT/StyleAvatar issue 10": (
        "INVALID_CONFIG: The engine plan file is generated on an incompatible device, expecting compute 8.9 got compute 8.6, please "
        "rebuild",
        "engine-of-another-gpu",
    ),
    "NVIDIA/TensorRT issue 2035": (
        "[W] [TRT] Skipping tactic 0 due to insuficient memory on requested size of 29147520 detected for tactic 0.\n"
        "[E] Error[10]: [optimizer.cpp::computeCosts::2011] Error Code 10: Internal Error (Could not find any implementation for node "
        "{ForeignNode[onnx::Gather_72...ScatterND_170]}.)",
        "build-without-implementation",
    ),
    "NVIDIA/TensorRT issue 2198": (
        "defaultAllocator.cpp::nvinfer1::internal::DefaultAllocator::allocate::63] Error Code 1: Cuda Runtime (out of memory).",
        "gpu-out-of-memory",
    ),
    "NVIDIA/TensorRT issue 948": (
        "[E] [TRT] C:\\source\\rtSafe\\safeRuntime.cpp (25) - Cuda Error in nvinfer1::internal::DefaultAllocator::allocate: 2 (out "
        "of memory)",
        "gpu-out-of-memory",
    ),
    "JetsonHacksNano/CSI-Camera issue 55": (
        '[ WARN:0] global cap_gstreamer.cpp (734) open OpenCV | GStreamer warning: Error opening bin: no element "nvarguscamerasrc"\n'
        "[ WARN:0] global cap_gstreamer.cpp (501) isPipelinePlaying OpenCV | GStreamer warning: GStreamer: pipeline have not been "
        "created",
        "opencv-without-gstreamer",
    ),
    "dusty-nv/jetson-inference issue 1397": (
        "Error generated. /dvs/git/dirty/git-master_linux/multimedia/nvgstreamer/gst-nvarguscamera/gstnvarguscamerasrc.cpp, "
        "execute:656 Failed to create CaptureSession",
        "argus-session",
    ),
    "otamajakusi/dockerfile-yolov5-jetson issue 15": (
        "ImportError: /usr/lib/aarch64-linux-gnu/libgomp.so.1: cannot allocate memory in static TLS block",
        "static-tls",
    ),
    "fisher60/friendo-bot issue 68": (
        "bot_1  | ImportError: libgthread-2.0.so.0: cannot open shared object file: No such file or directory",
        "libgl-missing",
    ),
    "LinkSoul-AI/Chinese-Llama-2-7b issue 32": (
        'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].',
        "docker-without-gpu",
    ),
    "numpy/numpy issue 18175": ("Illegal instruction (core dumped)", "illegal-instruction"),
    "microsoft/onnxruntime issue 20559": (
        "onnxruntime.capi.onnxruntime_pybind11_state.Fail: [ONNXRuntimeError] : 1 : FAIL : Load model from "
        "positional_encoding_poly.onnx failed: Unsupported model IR version: 10, max supported IR version: 9",
        "onnx-too-new",
    ),
    "NVIDIA/TensorRT issue 3737": (
        "AttributeError: 'tensorrt_bindings.tensorrt.ICudaEngine' object has no attribute 'num_bindings'",
        "bindings-gone",
    ),
    "dusty-nv/jetson-inference issue 1818": (
        "[TRT] 2: [utils.cpp::checkMemLimit::380] Error Code 2: Internal Error (Assertion upperBound != 0 failed. Unknown embedded "
        "device Please update the table with the entry",
        "jetpack-too-new-for-tensorrt",
    ),
    "yuvraj108c/ComfyUI-Depth-Anything-Tensorrt issue 2": (
        "Error: [TRT] [E] 1: [runtime.cpp::parsePlan::314] Error Code 1: Serialization (Serialization assertion "
        "plan->header.magicTag == rt::kPLAN_MAGIC_TAG failed.)",
        "engine-is-no-plan",
    ),
}


@pytest.mark.parametrize("source", POSTED)
def test_a_posted_error_is_known_by_its_text(source: str) -> None:
    text, name = POSTED[source]
    assert [entry.id for entry in explain(text)][:1] == [name]


@pytest.mark.parametrize("entry", FAILURES, ids=lambda entry: entry.id)
def test_every_failure_is_found_by_its_own_message_and_says_what_to_do(entry: Failure) -> None:
    assert explain(entry.message)[0] == entry
    assert entry.cause
    assert entry.fix
    assert entry.source
    assert all(sign == sign.lower() or "\\" in sign for sign in entry.signs), "signs are matched with lower-case text"


def test_failures_have_names_of_their_own() -> None:
    names = [entry.id for entry in FAILURES]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z0-9-]+", name) for name in names)
    assert len(names) >= 20


@pytest.mark.parametrize(
    "text", ["", "it works", "ModuleNotFoundError: No module named 'tensorrt_llm.runtime'", "exit 0"]
)
def test_an_unknown_text_is_said_to_be_unknown(text: str) -> None:
    assert explain(text) == ()


def test_line_breaks_and_letter_case_do_not_matter() -> None:
    assert explain("CANNOT ALLOCATE MEMORY\n   in static\tTLS block")[0].id == "static-tls"
