"""What may import what, and what an import may need and do."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgewright

FOLDERS = ("pipeline", "export", "runtime", "calibration", "configs")
HEAVY = ("torch", "torchvision", "onnx", "openvino", "tensorrt", "nncf", "pycocotools", "faster_coco_eval")

# For a fresh interpreter: HEAVY packages cannot be found, and import_all tells what each module of a package was missing.
IMPORT_ALL = f"""
import importlib, json, pkgutil, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())

def import_all(package):
    pending, missing = [package], {{}}
    while pending:
        name = pending.pop()
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as err:
            missing[name] = err.name
        else:
            pending += [m.name for m in pkgutil.iter_modules(getattr(module, "__path__", []), name + ".")]
    return missing
"""


def run_python(code: str, folder: Path, **environment: str) -> str:
    """What a fresh interpreter prints that runs `code` in `folder`."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def lint_imports(checkout: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_imports_point_down(checkout: Path) -> None:
    done = lint_imports(checkout)
    assert done.returncode == 0, done.stdout


def test_every_import_rule_notices_a_file_that_breaks_it(checkout: Path, tmp_path: Path) -> None:
    for folder in ("src", *FOLDERS):
        shutil.copytree(checkout / folder, tmp_path / folder, symlinks=True)
    shutil.copy(checkout / "pyproject.toml", tmp_path)
    breaches = {
        "runtime/upwards.py": "import edgewright.pipeline.cli",
        "export/sideways.py": "import edgewright.calibration",
        "runtime/heads/heavy.py": "def decode() -> None:\n    import torch",
        "runtime/engine.py": "import openvino",
        "runtime/sinks/page.py": "def show() -> None:\n    import starlette",
    }
    for name, code in breaches.items():
        (tmp_path / name).write_text(code + "\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    for breach in (
        "edgewright.runtime.upwards -> edgewright.pipeline.cli",
        "edgewright.export.sideways -> edgewright.calibration",
        "edgewright.runtime.heads.heavy -> torch",
        "edgewright.runtime.engine -> openvino",
        "edgewright.runtime.sinks.page -> starlette",
    ):
        assert breach in done.stdout


def test_the_runtime_needs_a_heavy_package_only_in_the_backend_of_that_engine(tmp_path: Path) -> None:
    missing = json.loads(run_python(IMPORT_ALL + "print(json.dumps(import_all('edgewright.runtime')))", tmp_path))
    engines = {"edgewright.runtime.backends.ov": "openvino", "edgewright.runtime.backends.trt": "tensorrt"}
    assert missing == {name: engine for name, engine in engines.items() if name in missing}


def test_the_packages_of_the_web_view_are_needed_by_nothing_else(tmp_path: Path) -> None:
    web = ("prometheus_client", "starlette", "uvicorn")
    code = IMPORT_ALL.replace(repr(HEAVY), repr((*HEAVY, *web)))
    for package in ("runtime", "pipeline.commands"):
        found = json.loads(run_python(code + f"print(json.dumps(import_all('edgewright.{package}')))", tmp_path))
        needing = {module for module, needed in found.items() if needed in web}
        assert {module for module in needing if not module.startswith("edgewright.runtime.web.")} == (
            {"edgewright.runtime.sinks.web"} if package == "runtime" else set()
        )


def test_every_verb_shows_its_help_without_a_heavy_package(tmp_path: Path) -> None:
    show_help = """
from edgewright.pipeline.cli import edgewright
for verb in [[], *([name] for name in edgewright.list_commands(None))]:
    print(edgewright.main([*verb, "--help"], prog_name="edgewright", standalone_mode=False) or "")
"""
    text = run_python(IMPORT_ALL + show_help, tmp_path)
    verbs = [path.stem for path in (Path(edgewright.__file__).parent / "pipeline/commands").glob("[!_]*.py")]
    for usage in ("edgewright [OPTIONS]", *(f"edgewright {verb.replace('_', '-')} " for verb in verbs)):
        assert f"Usage: {usage}" in text


# Third-party packages come first: what they do when imported is not the question.
OBSERVE = """
import logging, os, signal, threading, warnings
import click, cv2, hdrh.histogram, jinja2, junitparser, numpy, onnxruntime, psutil, pydantic, rich.console, yaml

def observed():
    return {
        "environment": dict(os.environ),
        "log handlers": [repr(h) for h in logging.root.handlers],
        "log levels": [logging.root.level, logging.root.manager.disable],
        "warning filters": repr(warnings.filters),
        "signal handlers": [repr(signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
        "threads": [t.name for t in threading.enumerate()],
        "error state": numpy.geterr(),
        "OpenCV threads": cv2.getNumThreads(),
        "files": os.listdir(),
    }
"""


def test_importing_has_no_side_effect(tmp_path: Path) -> None:
    code = (
        IMPORT_ALL + OBSERVE + "before = observed(); import_all('edgewright'); print(json.dumps([before, observed()]))"
    )
    before, after = json.loads(run_python(code, tmp_path, HOME=str(tmp_path)))
    assert after == before


def test_opencv_is_known_by_its_module_and_not_by_the_name_of_its_package(tmp_path: Path) -> None:
    """A board's OpenCV has no package metadata, the headless build has another name."""
    hide_metadata = """
import importlib.metadata
find = importlib.metadata.Distribution.from_name.__func__
def from_name(cls, name):
    if name.lower().startswith("opencv"):
        raise importlib.metadata.PackageNotFoundError(name)
    return find(cls, name)
importlib.metadata.Distribution.from_name = classmethod(from_name)
"""
    use_everything = """
assert import_all("edgewright.runtime").keys() <= {"edgewright.runtime.backends.ov", "edgewright.runtime.backends.trt"}
import cv2
from edgewright.pipeline.device import describe_device
print(describe_device().software["opencv"] == cv2.__version__)
"""
    assert run_python(hide_metadata + IMPORT_ALL + use_everything, tmp_path).strip() == "True"


def test_the_version_is_that_of_the_installed_package() -> None:
    assert edgewright.__version__ == importlib.metadata.version("edgewright")
    with pytest.raises(AttributeError, match="'edgewright' has no attribute 'versoin'"):
        _ = edgewright.versoin
