"""Questions that are asked in a process of their own: `python -m edgewright.pipeline.doctor.probes NAME` prints JSON.

Packages are imported by name and not by statement: whether they can be is the question.
"""

import json
import sys
from dataclasses import asdict
from importlib import import_module
from typing import Any

MARK = "edgewright-probe:"


def opencv() -> dict[str, Any]:
    """OpenCV's version, file and build information; it has worked on an array, so NumPy fits it."""
    cv2, numpy = import_module("cv2"), import_module("numpy")
    cv2.resize(numpy.zeros((8, 8, 3), numpy.uint8), (4, 4))
    return {
        "version": cv2.__version__,
        "file": str(cv2.__file__),
        "build": cv2.getBuildInformation(),
        "numpy": numpy.__version__,
    }


def onnxruntime() -> dict[str, Any]:
    """ONNX Runtime's version and execution providers."""
    runtime = import_module("onnxruntime")
    return {"version": runtime.__version__, "providers": list(runtime.get_available_providers())}


def openvino() -> dict[str, Any]:
    """OpenVINO's version and the devices that it sees, each with its name."""
    module = import_module("openvino")
    core = module.Core()
    devices = {name: str(core.get_property(name, "FULL_DEVICE_NAME")) for name in core.available_devices}
    return {"version": module.__version__.split("-")[0], "devices": devices}


def tensorrt() -> dict[str, Any]:
    """TensorRT's version and file; `types` is the error of its conversion of types, which NumPy may break."""
    module = import_module("tensorrt")
    try:
        module.nptype(module.DataType.BOOL)
    except AttributeError as err:
        types = f"AttributeError: {err}"
    else:
        types = ""
    return {"version": str(module.__version__), "file": str(module.__file__), "types": types}


def driver() -> dict[str, Any]:
    """The NVIDIA driver and its GPUs."""
    from edgewright.runtime.tensorrt.driver import preflight

    return asdict(preflight())


def cuda() -> dict[str, Any]:
    """The CUDA runtime library that is found, and its version."""
    from edgewright.runtime.tensorrt.cuda import Cuda

    library = Cuda()
    return {"version": library.version, "file": str(library.path)}


def cameras() -> list[dict[str, Any]]:
    """Every /dev/video*, with its name and formats or with why it cannot be opened."""
    from edgewright.pipeline.doctor.video_devices import video_devices

    return [asdict(device) for device in video_devices()]


def trial(bundle: str, backend: str, precision: str) -> dict[str, Any]:
    """Golden tensors, precision of the layers and a short measurement of a bundle on one engine."""
    from edgewright.pipeline.doctor.trial import try_out

    return try_out(bundle, backend=backend, precision=precision)


_PROBES = (opencv, onnxruntime, openvino, tensorrt, driver, cuda, cameras, trial)


def main(words: list[str]) -> None:
    """Print what the probe that is named first says; of an error of this project its sentence, else the traceback."""
    from edgewright.pipeline.doctor import OWN
    from edgewright.runtime.errors import EdgeError

    name, *rest = words
    question = {probe.__name__: probe for probe in _PROBES}[name]
    try:
        answer = question(*rest)
    except EdgeError as err:
        sys.exit(f"{OWN}{err}")
    sys.stdout.write(f"\n{MARK}{json.dumps(answer)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
