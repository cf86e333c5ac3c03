"""Adapters are found by file name: `runtime/nms/soft.py` is the NMS variant `soft`."""

import importlib
import pkgutil
from difflib import get_close_matches
from types import ModuleType

from edgewright.runtime.errors import MissingDependencyError, UsageError

# Import name -> what to type; only packages whose absence is a normal state of a lean install.
_EXTRAS = {
    "onnx": "onnx",
    "onnxscript": "export",
    "onnxslim": "export",
    "safetensors": "export",
    "torch": "export",
    "torchvision": "export",
    "openvino": "openvino",
    "transformers": "transformers",
    "timm": "transformers",
    "scipy": "transformers",
    "segmentation_models_pytorch": "smp",
    "pydensecrf": "crf",
    "matplotlib": "report",
    "sqlalchemy": "history",
    "psycopg": "postgresql",
    "pynvml": "nvml",
    "tensorrt_rtx": "tensorrt-rtx",
    "nncf": "quantize",
    "faster_coco_eval": "evaluate",
    "tensorrt": "tensorrt",
    "cv2": "opencv",
    "starlette": "web",
    "uvicorn": "web",
    "paho": "mqtt",
    "trackers": "tracking",
    "supervision": "tracking",
    "prometheus_client": "web",
}

_KINDS = {
    "families": "family",
    "backends": "backend",
    "datasets": "kind of data",
    "heads": "head",
    "nms": "NMS variant",
    "proposals": "method of region proposals",
    "refine": "refinement of class maps",
    "sinks": "sink",
    "sources": "source",
    "steps": "step",
    "tracking": "tracker",
    "commands": "verb",
}


def names(package: str) -> tuple[str, ...]:
    """The adapters of `package` ("edgewright.runtime.nms"), sorted; nothing is imported but the package itself."""
    paths = importlib.import_module(package).__path__
    return tuple(sorted(m.name for m in pkgutil.iter_modules(paths) if not m.name.startswith("_")))


def load(package: str, name: str) -> ModuleType:
    """The module `name` of `package`; UsageError for an unknown name, MissingDependencyError for a missing extra."""
    known = names(package)
    if name not in known:
        kind = _KINDS.get(package.rsplit(".", 1)[-1], "adapter")
        raise UsageError(f"there is no {kind} '{name}'{suggestion(name, known)}; there are: {', '.join(known)}")
    try:
        return importlib.import_module(f"{package}.{name}")
    except ModuleNotFoundError as err:
        raise missing_dependency(err, needed_by=f"'{name}'") from err


def missing_dependency(err: ModuleNotFoundError, *, needed_by: str) -> MissingDependencyError:
    """The error for an optional package that is not installed, with the command that installs it.

    `err` itself is raised when a module of edgewright is missing: a damaged installation, which no extra mends.
    """
    package = (err.name or "").split(".")[0]
    if package in ("", "edgewright"):
        raise err
    extra = _EXTRAS.get(package)
    wanted = f"'edgewright[{extra}]'" if extra else package
    return MissingDependencyError(
        f"{needed_by} needs the package '{package}', which is not installed; run: pip install {wanted}"
    )


def check_choice(what: str, given: str, known: tuple[str, ...]) -> None:
    """UsageError that names `what` and the closest of the known choices when `given` is none of them."""
    if given not in known:
        raise UsageError(f"{what} is '{given}'{suggestion(given, known)}; there are: {', '.join(known)}")


def suggestion(name: str, known: tuple[str, ...] | list[str]) -> str:
    """' (did you mean 'soft'?)' when a known name is close, else an empty string."""
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""
