"""The sdist, and the wheel made from it, built as `pip install` would, but without a network."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement

CHECKOUT = Path(__file__).resolve().parent.parent
FOLDERS = ("pipeline", "export", "runtime", "calibration", "configs")
# One worker builds once for all tests of this file.
pytestmark = pytest.mark.xdist_group("packaging")


@dataclass(frozen=True)
class Built:
    """What a release would upload, the package's files that went in, and a folder with the content of the wheel."""

    package_files: set[str]
    sdist_files: set[str]
    wheel_files: set[str]
    unpacked: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    copy, output, unpacked = (tmp_path_factory.mktemp(name) for name in ("copy", "dist", "unpacked"))
    for folder in ("src", *FOLDERS):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(CHECKOUT / folder, copy / folder, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, copy)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(output), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = output.glob("*.tar.gz"), output.glob("*.whl")
    with tarfile.open(sdist) as tar:
        sdist_files = {str(PurePosixPath(*PurePosixPath(m.name).parts[1:])) for m in tar.getmembers() if m.isfile()}
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
        wheel_files = set(archive.namelist())
    yield Built(files_of_the_package(copy), sdist_files, wheel_files, unpacked)
    shutil.rmtree(unpacked)


def files_of_the_package(checkout: Path) -> set[str]:
    """Every file below the five folders, as a wheel names it."""
    found = {
        str(path.relative_to(checkout))
        for folder in FOLDERS
        for path in (checkout / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    return {f"edgewright/{name}" for name in found} | {"edgewright/__init__.py", "edgewright/py.typed"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_package_folders_are_relative_links(folder: str) -> None:
    link = CHECKOUT / "src/edgewright" / folder
    assert link.is_symlink()
    assert os.readlink(link) == f"../../{folder}"


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(built: Built) -> None:
    metadata = {name for name in built.wheel_files if name.startswith("edgewright-")}
    assert built.wheel_files - metadata == built.package_files


def test_the_sdist_holds_every_file_of_the_package(built: Built) -> None:
    assert {f"src/{name}" for name in built.package_files} <= built.sdist_files


def test_the_wheel_carries_the_licence_and_the_command(built: Built) -> None:
    (info,) = built.unpacked.glob("edgewright-*.dist-info")
    assert "Apache License" in (info / "licenses/LICENSE").read_text()
    assert "edgewright = edgewright.pipeline.cli:main" in (info / "entry_points.txt").read_text()
    assert "License-Expression: Apache-2.0" in (info / "METADATA").read_text()


def test_an_unpacked_wheel_runs_without_the_checkout(built: Built, tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(built.unpacked)!r})
from edgewright.pipeline.cli import main
from edgewright.export.labels import load_labels
assert len(load_labels("coco80").labels) == 80
files = [getattr(module, "__file__", None) or "" for name, module in sys.modules.items() if "edgewright" in name]
assert all(file.startswith({str(built.unpacked)!r}) for file in files), files
main(["--version"])
"""
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("edgewright ")


@pytest.mark.parametrize(
    ("machine", "python", "numpy", "opencv"),
    [
        ("x86_64", "3.12", ">=1.23", True),
        ("aarch64", "3.10", "<2,>=1.23", False),
        ("aarch64", "3.13", ">=1.23", False),
    ],
)
def test_a_board_keeps_its_opencv_and_a_numpy_that_it_can_load(
    built: Built, machine: str, python: str, numpy: str, opencv: bool
) -> None:
    """JetPack 6 is Python 3.10 on aarch64 with an OpenCV compiled for NumPy 1."""
    (metadata,) = built.unpacked.glob("edgewright-*.dist-info/METADATA")
    requirements = [Requirement(line) for line in Parser().parsestr(metadata.read_text()).get_all("Requires-Dist", [])]
    environment = {"platform_machine": machine, "python_version": python, "extra": ""}
    wanted = {r.name: str(r.specifier) for r in requirements if r.marker is None or r.marker.evaluate(environment)}
    assert wanted["numpy"] == numpy
    assert ("opencv-python" in wanted) == opencv
    assert not {"torch", "onnx", "openvino", "tensorrt", "nncf"} & wanted.keys()
