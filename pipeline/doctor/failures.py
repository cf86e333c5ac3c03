"""Failures that people meet on devices: what the message looks like, what is behind it, what mends it, and who says so."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """`message` is typical wording; `signs` are regular expressions over lower-case text with single spaces."""

    id: str
    message: str
    signs: tuple[str, ...]
    cause: str
    fix: str
    source: str


FAILURES = (
    Failure(
        "tensorrt-not-seen",
        "ModuleNotFoundError: No module named 'tensorrt'",
        (r"no module named '?tensorrt'?(?![\w.])", r"needs the package 'tensorrt'"),
        "this Python does not see TensorRT; on a Jetson it comes by apt, for the system's Python alone, and conda, pyenv or uv bring "
        "another Python",
        "on a Jetson: sudo apt install python3-libnvinfer, then /usr/bin/python3 -m venv --system-site-packages VENV; on a PC: "
        "pip install 'edgewright[tensorrt]'",
        "NVIDIA/TensorRT issue 2737, pytorch/TensorRT issue 1233",
    ),
    Failure(
        "tensorrt-from-pip-on-jetson",
        "ERROR: Failed building wheel for tensorrt",
        (r"failed (building|to build)[^.]{0,40}tensorrt", r"tensorrt-cu1\d[_-]bindings.{0,80}(no matching|not find)"),
        "pip's tensorrt is made for PCs; on a JetPack before 7 there is no such package",
        "take the one of JetPack: sudo apt install python3-libnvinfer, and a virtual environment with --system-site-packages",
        "NVIDIA/TensorRT issue 4176",
    ),
    Failure(
        "numpy-bool",
        "AttributeError: module 'numpy' has no attribute 'bool'",
        (r"module 'numpy' has no attribute 'bool'",),
        "TensorRT 8.5 (JetPack 5) uses np.bool, which NumPy 1.24 took away",
        "pip install 'numpy<1.24'",
        "NVIDIA/TensorRT issue 2557, ultralytics/ultralytics issue 22930",
    ),
    Failure(
        "numpy-2",
        "A module that was compiled using NumPy 1.x cannot be run in NumPy 2.2.2 as it may crash. AttributeError: _ARRAY_API not found",
        (
            r"compiled using numpy 1\.x cannot be run in numpy 2",
            r"_array_api not found",
            r"numpy\.core\.multiarray failed to import",
        ),
        "OpenCV (or another module) was compiled for NumPy 1, as JetPack's and Ubuntu's up to 24.04 are, and NumPy is 2",
        "pip install 'numpy<2'",
        "opencv/opencv-python issue 997",
    ),
    Failure(
        "no-driver",
        "OSError: libcuda.so.1: cannot open shared object file: No such file or directory",
        (r"libcuda\.so(\.1)?: cannot open shared object", r"there is no nvidia driver on this machine"),
        "there is no NVIDIA driver, or the container does not see it",
        "install the driver (on a Jetson it is part of Jetson Linux); start a container with --gpus all, on a Jetson with "
        "--runtime nvidia; or go on with --backend ort or --backend ov",
        "NVIDIA, CUDA installation guide for Linux",
    ),
    Failure(
        "driver-too-old",
        "CUDA initialization failure with error: 35. Please check your CUDA installation",
        (
            r"cuda initialization failure with error:? 35",
            r"cudaerrorinsufficientdriver",
            r"cuda driver version is insufficient for cuda runtime version",
            r"the driver is older than this cuda runtime",
        ),
        "the driver is older than the CUDA that this TensorRT was made with, or a container does not see the driver at all",
        "update the driver, or take the TensorRT and CUDA of the driver's version (`nvidia-smi` shows it at the top right)",
        "NVIDIA/TensorRT issue 2879; CUDA, driver_types.h: 35 is cudaErrorInsufficientDriver",
    ),
    Failure(
        "no-gpu",
        "CUDA error 100: no CUDA-capable device is detected",
        (r"no cuda-capable device is detected", r"cuda initialization failure with error:? 100", r"cuda error 100\b"),
        "there is a driver and it sees no GPU",
        "check CUDA_VISIBLE_DEVICES and `nvidia-smi`; start a container with --gpus all, on a Jetson with --runtime nvidia",
        "NVIDIA/TensorRT issue 149; CUDA, cuda.h: 100 is CUDA_ERROR_NO_DEVICE",
    ),
    Failure(
        "driver-mismatch",
        "Failed to initialize NVML: Driver/library version mismatch",
        (r"driver/library version mismatch", r"cuda error 803\b", r"system_driver_mismatch"),
        "the driver was updated while its old kernel module is still loaded",
        "reboot",
        "NVIDIA, NVML reference: NVML_ERROR_LIB_RM_VERSION_MISMATCH",
    ),
    Failure(
        "cuda-unknown",
        "CUDA error 999: unknown error",
        (r"cuda error:? 999\b", r"cuda_error_unknown", r"cuda initialization failure with error:? 999"),
        "the driver is in a bad state, often after suspending or after a program that was killed",
        "look into `sudo dmesg`, then reboot; on a PC `sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm` may do",
        "CUDA, cuda.h: 999 is CUDA_ERROR_UNKNOWN",
    ),
    Failure(
        "cudart-missing",
        "OSError: libcudart.so.12: cannot open shared object file: No such file or directory",
        (r"libcudart\.so[\d.]*: cannot open shared object", r"(no|cannot find|not find) (the )?(cuda runtime|libcudart)"),
        "the CUDA runtime library is not where the loader looks",
        "on a Jetson: sudo apt install cuda-cudart-12-6 (JetPack 6; the number is CUDA's) and add /usr/local/cuda/lib64 to "
        "LD_LIBRARY_PATH; on a PC: pip install nvidia-cuda-runtime-cu12 (or without -cu12 for CUDA 13)",
        "NVIDIA, CUDA installation guide for Linux, post-installation actions",
    ),
    Failure(
        "nvinfer-missing",
        "ImportError: libnvinfer.so.10: cannot open shared object file: No such file or directory",
        (r"libnvinfer(_plugin|_lean|_dispatch)?\.so[\d.]*: cannot open shared object", r"libnvonnxparser\.so[\d.]*: cannot"),
        "TensorRT's Python package is there and its libraries are not, or they are of another version",
        "on a Jetson: sudo apt install tensorrt (or nvidia-jetpack); on a PC: pip install --force-reinstall 'edgewright[tensorrt]'",
        "NVIDIA, TensorRT installation guide",
    ),
    Failure(
        "jetson-library-empty",
        "ImportError: /usr/lib/aarch64-linux-gnu/nvidia/libnvdla_compiler.so: file too short",
        (
            r"lib(nv|cud)\w*\.so[\d.]*: file too short",
            r"libnvdla_compiler\.so: cannot open shared object",
        ),
        "in a container these libraries are empty until NVIDIA's container runtime puts those of the board there, and the board must "
        "have them",
        "start the container with --runtime nvidia; on the board itself: sudo apt install nvidia-l4t-dla-compiler nvidia-container",
        "dusty-nv/jetson-inference issue 1736, OE4T/meta-tegra issue 1281",
    ),
    Failure(
        "docker-without-gpu",
        'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].',
        (r"could not select device driver", r"unknown or invalid runtime name: nvidia", r"unknown runtime specified nvidia"),
        "Docker has no NVIDIA runtime",
        "sudo apt install nvidia-container-toolkit && sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart "
        "docker",
        "NVIDIA/nvidia-docker issues 1352 and 1642",
    ),
    Failure(
        "engine-of-another-version",
        "Error Code 1: Serialization (Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed. Version tag does not "
        "match. Note: Current Version: 240, Serialized Engine Version: 239)",
        (
            r"stdversionread ==",
            r"safeversionread ==",
            r"version tag does not match",
            r"engine plan file is not compatible with this version of tensorrt",
            r"the engine was built by tensorrt [\d.]+, this is",
        ),
        "an engine runs with the very TensorRT that built it",
        "build it again on this device: edgewright compile BUNDLE",
        "NVIDIA/TensorRT issue 4479",
    ),
    Failure(
        "engine-of-another-gpu",
        "INVALID_CONFIG: The engine plan file is generated on an incompatible device, expecting compute 8.9 got compute 8.6, please "
        "rebuild",
        (
            r"generated on an incompatible device",
            r"no kernel image is available for execution on the device",
            r"cuda error:? 209\b",
            r"using an engine plan file across different models of devices",
        ),
        "an engine runs on the kind of GPU that it was built on",
        "build it again on this device: edgewright compile BUNDLE",
        "LizhenWangT/StyleAvatar issue 10; NVIDIA, TensorRT documentation, engine compatibility",
    ),
    Failure(
        "engine-is-no-plan",
        "Error Code 1: Serialization (Serialization assertion plan->header.magicTag == rt::kPLAN_MAGIC_TAG failed.)",
        (r"kplan_magic_tag", r"magictag", r"the file is no tensorrt plan", r"the engine is truncated"),
        "the file is cut short, or some tool put its own header before the plan, as Ultralytics does",
        "build it again on this device: edgewright compile BUNDLE",
        "yuvraj108c/ComfyUI-Depth-Anything-Tensorrt issue 2",
    ),
    Failure(
        "build-without-implementation",
        "Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[onnx::Gather_72...ScatterND_170]}.)",
        (r"could not find any implementation for node", r"no implementation (of|for) (layer|node)"),
        "TensorRT tried kernels for a layer and none was usable: too little memory to try them, or a type that the layer has no kernel "
        "for",
        "`edgewright lint BUNDLE --target ...` first; then close other programs, add swap, and build with --precision fp32 to see "
        "whether the type is the reason",
        "NVIDIA/TensorRT issues 1766 and 2035, onnx/onnx-tensorrt issue 564",
    ),
    Failure(
        "gpu-out-of-memory",
        "defaultAllocator.cpp::allocate::63] Error Code 1: Cuda Runtime (out of memory)",
        (
            r"cuda runtime \(out of memory\)",
            r"cuda error in \S*allocate: 2",
            r"cudaerrormemoryallocation",
            r"error code 2: outofmemory",
            r"nvmapmemalloc\w* error 12",
            r"the gpu's memory is full",
        ),
        "the GPU's memory is full; on a Jetson it is the processor's, shared with every program and with the page cache",
        "close the desktop (sudo systemctl isolate multi-user.target) and other programs, build with a smaller workspace and "
        "batch, and reboot where NvMap says so: its memory breaks into pieces",
        "NVIDIA/TensorRT issue 948, 0xShug0/audio.cpp issue 12",
    ),
    Failure(
        "killed-for-memory",
        "Out of memory: Killed process 2311 (edgewright)",
        (r"out of memory: killed process", r"oom-kill", r"(^|\W)exit(ed)?( with)?( status| code)? 137\b", r"ended by signal 9\b"),
        "the system's memory was used up and the kernel killed the program",
        "add swap (sudo fallocate -l 8G /swapfile; sudo chmod 600 /swapfile; sudo mkswap /swapfile; sudo swapon /swapfile), raise the "
        "container's memory limit, or build with a smaller workspace",
        "Linux, admin guide, memory management: out-of-memory killer",
    ),
    Failure(
        "int8-not-asked",
        "Error Code 4: Internal Error (Int8 precision has been set for a layer or layer output, but int8 is not configured in the "
        "builder)",
        (r"int8 is not configured in the builder", r"kint8.{0,60}not (set|enabled)"),
        "before TensorRT 11 a graph with Q/DQ layers is built only with the flag INT8",
        "build with --precision int8, which sets it; with trtexec add --int8 --fp16",
        "recalled, not checked again; NVIDIA/TensorRT issue 2348 for the missing flag",
    ),
    Failure(
        "precision-flag-gone",
        "AttributeError: type object 'tensorrt_bindings.tensorrt.BuilderFlag' has no attribute 'FP16'",
        (r"builderflag'? has no attribute", r"networkdefinitioncreationflag'? has no attribute", r"unknown option: --(fp16|int8|best)"),
        "TensorRT 11 took the precision flags away: there the types of the graph decide",
        "build by edgewright compile, which writes the types; an fp16 or int8 bundle comes from edgewright quantize --target tensorrt",
        "NVIDIA, migrating from TensorRT 10 to 11",
    ),
    Failure(
        "bindings-gone",
        "AttributeError: 'tensorrt_bindings.tensorrt.ICudaEngine' object has no attribute 'num_bindings'",
        (r"has no attribute '(num_bindings|get_binding_\w+|max_batch_size|binding_is_input|execute_async_v2)'",),
        "the program uses the interface of TensorRT 8, which 10 does not have",
        "use --backend trt of this project, which names tensors; or update that program",
        "NVIDIA/TensorRT issue 3737",
    ),
    Failure(
        "jetpack-too-new-for-tensorrt",
        "Error Code 2: Internal Error (Assertion upperBound != 0 failed. Unknown embedded device detected. Please update the table",
        (r"unknown embedded device",),
        "this TensorRT is older than the board and does not know it",
        "use the TensorRT of the board's own JetPack, not one of another release or container",
        "dusty-nv/jetson-inference issue 1818",
    ),
    Failure(
        "opencv-without-gstreamer",
        "OpenCV | GStreamer warning: GStreamer: pipeline have not been created",
        (r"gstreamer: pipeline have not been created", r'no element "?nv\w+', r"opencv was (built|compiled) without gstreamer"),
        "OpenCV has no GStreamer, as pip's opencv-python never has, or NVIDIA's GStreamer plugins are not there",
        "pip uninstall opencv-python opencv-python-headless opencv-contrib-python, so that the system's OpenCV is seen again; "
        "sudo apt install nvidia-l4t-gstreamer; rm -rf ~/.cache/gstreamer-1.0",
        "JetsonHacksNano/CSI-Camera issues 38, 55 and 62",
    ),
    Failure(
        "argus-session",
        "Error generated. gstnvarguscamerasrc.cpp, execute:656 Failed to create CaptureSession",
        (r"failed to create capturesession", r"nvargus-daemon", r"argus.{0,40}(timeout|connecting to nvargus)"),
        "the camera service of the Jetson has lost the camera, or another program or the ribbon cable holds it",
        "sudo systemctl restart nvargus-daemon; in a container mount /tmp/argus_socket; look at the cable",
        "dusty-nv/jetson-inference issue 1397",
    ),
    Failure(
        "camera-permission",
        "error: camera:0: no permission for /dev/video0",
        (r"no permission for /dev/video", r"/dev/video\d+.{0,40}permission denied", r"permission denied.{0,40}/dev/video\d+"),
        "cameras belong to the group video",
        "sudo usermod -aG video $USER, then log in again; a container gets --device /dev/video0 --group-add video",
        "Debian, system groups: video",
    ),
    Failure(
        "camera-busy",
        "VIDIOC_STREAMON: Device or resource busy",
        (r"vidioc_\w+.{0,20}(device or resource )?busy", r"/dev/video\d+.{0,40}busy", r"another program may use it"),
        "another program has the camera",
        "find it with: sudo fuser -v /dev/video0",
        "Linux, V4L2 documentation: EBUSY of VIDIOC_STREAMON",
    ),
    Failure(
        "static-tls",
        "ImportError: /usr/lib/aarch64-linux-gnu/libgomp.so.1: cannot allocate memory in static TLS block",
        (r"cannot allocate memory in static tls block",),
        "an old C library (JetPack 5 and before) has too little room for libraries that are loaded late",
        "start with LD_PRELOAD set to the library that the message names, such as "
        "LD_PRELOAD=/usr/lib/aarch64-linux-gnu/libgomp.so.1",
        "opencv/opencv issue 14884, NVIDIA/DALI pull request 5519",
    ),
    Failure(
        "libgl-missing",
        "ImportError: libGL.so.1: cannot open shared object file: No such file or directory",
        (r"lib(gl|gthread-2\.0|xcb\S*|sm|xext)\.so[\d.]*: cannot open shared object",),
        "opencv-python wants the libraries of a desktop",
        "sudo apt install libgl1 libglib2.0-0; or, without a screen, opencv-python-headless in place of opencv-python",
        "opencv/opencv-python issues 370 and 373",
    ),
    Failure(
        "no-display",
        "qt.qpa.xcb: could not connect to display",
        (
            r"could not connect to display",
            r"cannot open display",
            r"rebuild the library with windows, gtk\+",
            r"can't initialize gtk",
        ),
        "there is no screen, or this OpenCV was built without windows",
        "use --sink jsonl:FILE, video:FILE or images:DIR",
        "OpenCV, highgui: message of the headless builds",
    ),
    Failure(
        "illegal-instruction",
        "Illegal instruction (core dumped)",
        (r"illegal instruction", r"ended by signal 4\b"),
        "a package was compiled for another processor, or the OpenBLAS inside NumPy misjudges this one",
        "set OPENBLAS_CORETYPE=ARMV8 on a Jetson; else install the package of this processor again",
        "numpy/numpy issue 18131, microsoft/onnxruntime issue 6375",
    ),
    Failure(
        "onnx-too-new",
        "[ONNXRuntimeError] : 1 : FAIL : Load model from model.onnx failed: Unsupported model IR version: 10, max supported IR version: 9",
        (r"unsupported model ir version", r"opset \d+ is under development and support for this is limited"),
        "ONNX Runtime is older than the file",
        "pip install --upgrade onnxruntime, or export the file again, with an older onnx and a lower opset_version",
        "microsoft/onnxruntime issues 20559 and 15874",
    ),
    Failure(
        "provider-missing",
        "Specified provider 'CUDAExecutionProvider' is not in available provider names",
        (r"\w*executionprovider' is not in available provider names",),
        "onnxruntime and onnxruntime-gpu are both installed, or only the first is; they overwrite each other",
        "this project runs ONNX Runtime on the processor and TensorRT on the GPU; for others: uninstall both, install one",
        "ONNX Runtime, documentation of execution providers",
    ),
    Failure(
        "openvino-not-seen",
        "ModuleNotFoundError: No module named 'openvino'",
        (r"no module named '?openvino'?(?![\w.])", r"needs the package 'openvino'"),
        "OpenVINO is not installed in this Python",
        "pip install 'edgewright[openvino]'",
        "edgewright, extras",
    ),
    Failure(
        "c-library-too-old",
        "ImportError: /lib/aarch64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found",
        (r"version [`'](glibc|glibcxx|cxxabi)_[\d.]+' not found",),
        "the package was compiled for a newer system, such as one for Ubuntu 22.04 on JetPack 5 (20.04)",
        "pip install --upgrade pip, which then chooses packages of this system; else take an older version of the package",
        "Python packaging, PEP 600: manylinux names the oldest C library",
    ),
    Failure(
        "nothing-to-compile-with",
        "fatal error: Python.h: No such file or directory",
        (r"python\.h: no such file", r"(command '|unable to execute ')\S*(gcc|cc)'?( failed)?: no such file"),
        "pip found no package for this processor and compiles its C code, for which a compiler or Python's headers are missing",
        "sudo apt install build-essential python3-dev",
        "pip, documentation of pip install: build from source",
    ),
    Failure(
        "system-python-is-managed",
        "error: externally-managed-environment",
        (r"externally-managed-environment",),
        "the system's Python (Ubuntu 24.04, JetPack 7) takes no packages from pip",
        "/usr/bin/python3 -m venv --system-site-packages VENV, then VENV/bin/pip install edgewright",
        "Python packaging, PEP 668",
    ),
    Failure(
        "disk-full",
        "OSError: [Errno 28] No space left on device",
        (r"no space left on device", r"errno 28\b"),
        "the disk is full",
        "sudo apt clean; docker system prune; keep bundles and engines on an NVMe disk (set XDG_CACHE_HOME to a folder there)",
        "Linux, errno(3): ENOSPC",
    ),
    Failure(
        "over-current",
        "System throttled due to Over-current.",
        (r"throttled due to over-?current", r"throttled by over-current"),
        "the module drew more current than its supply or power mode allows, and its clocks went down",
        "use the supply that the board's maker names; take a lower power mode (sudo nvpmodel -q shows it) before measuring",
        "NVIDIA, Jetson developer guide, over-current throttling",
    ),
    Failure(
        "cpu-without-vnni",
        "8-bit products may overflow: no VNNI in avx2, fma",
        (r"8-bit products may overflow", r"\b(no|without) vnni\b", r"onednn_max_cpu_isa", r"int8 .{0,40}(saturat|overflow)"),
        "a processor without VNNI adds products of 8-bit integers in 16 bits, which overflow unless weights have 7 bits",
        "quantize on this machine or with 7-bit weights; unset ONEDNN_MAX_CPU_ISA",
        "oneDNN, developer guide: int8 computation, nuances",
    ),
)  # fmt: skip


def failure(name: str) -> Failure:
    """The failure with that id; KeyError for an unknown one."""
    return next(entry for entry in FAILURES if entry.id == name)
