"""The checks of `edgewright doctor` on machines that are made of files and of what probes would say."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.sysfs import planted
from tests.pipeline.test_device import ORIN_NANO
from tests.tiny import tiny_bundle

from edgewright.pipeline.device import describe_device
from edgewright.pipeline.doctor import Finding, Status
from edgewright.pipeline.doctor.bundle_trials import int8_share, try_bundle
from edgewright.pipeline.doctor.checks import (
    board,
    cameras,
    memory,
    nvidia_driver,
    opencv_build,
    processor_engines,
    python_setup,
    tensorrt_python,
)
from edgewright.pipeline.doctor.checks.opencv_build import parse_build_information
from edgewright.pipeline.doctor.examination import examine, healthy, report, without_names
from edgewright.pipeline.doctor.machine import Answer, Interpreter, Machine, Target
from edgewright.pipeline.doctor.trial import layer_precisions

SYSTEM_PYTHON = Interpreter("3.10.12", "/opt/app/bin/python", "/opt/app", "/usr", ("/usr/lib/python3/dist-packages",))
CONDA = Interpreter("3.11.5", "/opt/conda/bin/python", "/opt/conda", "/opt/conda", ("/opt/conda/lib/python3.11",))
ORIN: dict[str, Any] = {
    "cuda": "12.6",
    "gpus": [{"name": "Orin", "sm": 87, "multiprocessors": 8, "integrated": True, "memory_bytes": 7 * 2**30}],
}
# opencv/opencv-python 4.11 of PyPI, and JetPack 6's as Ubuntu 22.04 builds it: the part "Video I/O".
PIP_OPENCV = """
  GUI:                           QT5
  Video I/O:
    DC1394:                      NO
    FFMPEG:                      YES
      avcodec:                   YES (59.37.100)
    GStreamer:                   NO
    v4l/v4l2:                    YES (linux/videodev2.h)
"""
SYSTEM_OPENCV = PIP_OPENCV.replace("GStreamer:                   NO", "GStreamer:                   YES (1.19.90)")
# opencv/opencv issue 13690: OpenCV 3.4, whose line for GStreamer is empty when it is there.
OLD_OPENCV = """
 Video I/O:
    DC1394:                      NO
    FFMPEG:                      NO
    GStreamer:                   
      base:                      YES (ver 1.0)
      video:                     YES (ver 1.0)
    DirectShow:                  YES
"""  # noqa: W291


def machine(
    tmp_path: Path,
    answers: Mapping[str, Answer] | None = None,
    *,
    tree: Mapping[str, str] = ORIN_NANO,
    target: Target | None = None,
    python: Interpreter = SYSTEM_PYTHON,
    packages: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Machine:
    """A machine of these files; a probe that is not answered must not be asked."""
    root = planted(tmp_path, tree)
    given = dict(answers or {})
    device = describe_device(root)
    return Machine(root, target, environment or {}, python, lambda name, *_: given[name], device, packages or {})


def statuses(findings: list[Finding]) -> dict[str, Status]:
    return {finding.check: finding.status for finding in findings}


PC: dict[str, str] = {
    "proc/meminfo": "MemTotal: 16384000 kB\nMemAvailable: 8192000 kB\nSwapTotal: 0 kB\n",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: avx2 fma\n",
    "proc/self/status": "Cpus_allowed_list:\t0\n",
}


def test_a_jetson_with_a_python_of_its_own_cannot_see_tensorrt(tmp_path: Path) -> None:
    (finding,) = python_setup.check(machine(tmp_path, python=CONDA))
    assert finding.status == "problem"
    assert "of conda" in finding.found
    assert "--system-site-packages" in finding.fix
    (finding,) = python_setup.check(machine(tmp_path, python=SYSTEM_PYTHON))
    assert finding.status == "ok"


def test_any_python_does_on_a_pc(tmp_path: Path) -> None:
    (finding,) = python_setup.check(machine(tmp_path, tree=PC, python=CONDA))
    assert finding.status == "ok"


def test_the_release_and_the_power_mode_of_a_jetson_are_told(tmp_path: Path) -> None:
    found = {finding.check: finding for finding in board.check(machine(tmp_path))}
    assert found["board"].status == "ok"
    assert found["board"].found.startswith("Jetson Linux 36.")
    assert found["clocks"].status == "note"


def test_jetpack_4_is_too_old(tmp_path: Path) -> None:
    tree = {"etc/nv_tegra_release": "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t186ref, EABI: aarch64\n"}
    findings = list(board.check(machine(tmp_path, tree={**PC, **tree})))
    assert statuses(findings)["board"] == "problem"
    assert "JetPack 4.6" in findings[0].found


def test_too_little_memory_is_a_problem_and_a_small_board_without_swap_a_note(tmp_path: Path) -> None:
    short = {**PC, "proc/meminfo": "MemTotal: 4000000 kB\nMemAvailable: 100000 kB\nSwapTotal: 0 kB\n"}
    found = {f.check: f for f in memory.check(machine(tmp_path / "a", tree=short))}
    assert (found["memory"].status, found["memory"].known) == ("problem", "killed-for-memory")
    small = {**ORIN_NANO, "proc/meminfo": "MemTotal: 7650336 kB\nMemAvailable: 5123456 kB\nSwapTotal: 0 kB\n"}
    found = {f.check: f for f in memory.check(machine(tmp_path / "b", tree=small))}
    assert found["memory"].status == "note"
    swapped = {**small, "proc/meminfo": small["proc/meminfo"].replace("SwapTotal: 0", "SwapTotal: 3825168")}
    found = {f.check: f for f in memory.check(machine(tmp_path / "c", tree=swapped))}
    assert found["memory"].status == "ok"


def test_libraries_that_nvidias_container_runtime_did_not_fill_are_found(tmp_path: Path) -> None:
    """4paradigm/phanthymotus pull request 154: placeholders of zero length stay where the host has no such library."""
    tree = {
        **ORIN_NANO,
        ".dockerenv": "",
        "usr/lib/aarch64-linux-gnu/nvidia/libnvdla_compiler.so": "",
        "usr/lib/aarch64-linux-gnu/nvidia/libnvcucompat.so": "not empty",
    }
    found = {f.check: f for f in memory.check(machine(tmp_path, tree=tree))}
    assert found["container-libraries"].known == "jetson-library-empty"
    assert "libnvdla_compiler.so" in found["container-libraries"].found


NO_DRIVER = Answer(
    None, "error: there is no NVIDIA driver on this machine (libcuda.so.1 is not found), which TensorRT needs"
)


@pytest.mark.parametrize(
    ("tree", "target", "status"),
    [(PC, None, "note"), (PC, "tensorrt", "problem"), (ORIN_NANO, None, "problem"), (ORIN_NANO, "openvino", "note")],
)
def test_a_missing_driver_is_a_problem_where_tensorrt_is_wanted(
    tmp_path: Path, tree: Mapping[str, str], target: Target | None, status: Status
) -> None:
    (finding,) = nvidia_driver.check(machine(tmp_path, {"driver": NO_DRIVER}, tree=tree, target=target))
    assert (finding.status, finding.known) == (status, "no-driver")


@pytest.mark.parametrize(("runtime", "status"), [("12.8", "ok"), ("13.0", "problem")])
def test_a_cuda_runtime_of_a_newer_major_number_than_the_drivers_is_a_problem(
    tmp_path: Path, runtime: str, status: Status
) -> None:
    """CUDA compatibility guide: a runtime of the same major number runs on an older driver."""
    answers = {"driver": Answer(ORIN), "cuda": Answer({"version": runtime, "file": "libcudart.so"})}
    findings = list(nvidia_driver.check(machine(tmp_path, answers)))
    assert statuses(findings) == {"driver": "ok", "cuda": status}


@pytest.mark.parametrize(
    ("version", "tree", "status"),
    [
        ("10.3.0", ORIN_NANO, "ok"),
        ("8.5.2.2", ORIN_NANO, "ok"),
        ("8.4.1.5", ORIN_NANO, "problem"),
        ("10.2.0.19", PC, "problem"),
        ("11.4.0.106", PC, "ok"),
        ("11.4.0.106", ORIN_NANO, "problem"),
        ("10.13.3.9.post1", PC, "ok"),
        ("unheard of", PC, "problem"),
    ],
)
def test_versions_of_tensorrt_that_are_known_to_fail_are_found(
    tmp_path: Path, version: str, tree: Mapping[str, str], status: Status
) -> None:
    answer = Answer({"version": version, "file": "/usr/lib/python3/dist-packages/tensorrt/__init__.py", "types": ""})
    (finding,) = tensorrt_python.check(machine(tmp_path, {"tensorrt": answer}, tree=tree))
    assert (finding.check, finding.status) == ("tensorrt", status)


def test_a_tensorrt_for_another_python_is_pointed_at(tmp_path: Path) -> None:
    tree = {
        **ORIN_NANO,
        "usr/lib/python3.10/dist-packages/tensorrt/__init__.py": "",
        "usr/src/tensorrt/bin/trtexec": "",
    }
    answer = Answer(None, "ModuleNotFoundError: No module named 'tensorrt'")
    missing, trtexec = tensorrt_python.check(machine(tmp_path, {"tensorrt": answer}, tree=tree, python=CONDA))
    assert missing.status == "problem"
    assert missing.found.startswith(
        "/usr/lib/python3.10/dist-packages/tensorrt is for the system's Python; this Python 3.11"
    )
    assert trtexec.status == "note"


def test_a_numpy_that_breaks_the_types_of_tensorrt_8_is_found(tmp_path: Path) -> None:
    error = "AttributeError: module 'numpy' has no attribute 'bool'."
    answer = Answer({"version": "8.5.2.2", "file": "tensorrt/__init__.py", "types": error})
    findings = list(tensorrt_python.check(machine(tmp_path, {"tensorrt": answer})))
    assert statuses(findings) == {"tensorrt": "ok", "tensorrt-numpy": "problem"}
    assert findings[1].fix == "pip install 'numpy<1.24'"


def test_what_opencv_was_built_with_is_read_from_its_information() -> None:
    assert parse_build_information(PIP_OPENCV) == {
        "GStreamer": None,
        "FFMPEG": "YES",
        "v4l/v4l2": "YES (linux/videodev2.h)",
        "NVIDIA CUDA": None,
        "GUI": "QT5",
    }
    assert parse_build_information(SYSTEM_OPENCV)["GStreamer"] == "YES (1.19.90)"
    old = parse_build_information(OLD_OPENCV)
    assert (old["GStreamer"], old["FFMPEG"]) == ("YES", None)


def test_the_opencv_that_is_installed_here_reads_files() -> None:
    import cv2

    built = parse_build_information(cv2.getBuildInformation())
    assert built["FFMPEG"] or built["GStreamer"]


@pytest.mark.parametrize(
    ("tree", "build", "status"),
    [(ORIN_NANO, PIP_OPENCV, "problem"), (ORIN_NANO, SYSTEM_OPENCV, "ok"), (PC, PIP_OPENCV, "ok"), (PC, "", "problem")],
)
def test_on_a_jetson_opencv_must_have_gstreamer(
    tmp_path: Path, tree: Mapping[str, str], build: str, status: Status
) -> None:
    answer = Answer({"version": "4.8.0", "file": "cv2.so", "build": build, "numpy": "1.26.4"})
    (finding,) = opencv_build.check(machine(tmp_path, {"opencv": answer}, tree=tree))
    assert finding.status == status


def test_an_opencv_for_another_numpy_names_the_fix(tmp_path: Path) -> None:
    error = "AttributeError: _ARRAY_API not found\nImportError: numpy.core.multiarray failed to import"
    (finding,) = opencv_build.check(machine(tmp_path, {"opencv": Answer(None, error)}))
    assert (finding.status, finding.fix) == ("problem", "pip install 'numpy<2'")


def test_two_packages_of_opencv_are_told_of(tmp_path: Path) -> None:
    answer = Answer({"version": "4.8.0", "file": "cv2.so", "build": PIP_OPENCV, "numpy": "1.26.4"})
    packages = {"opencv-python": "4.8", "opencv-contrib-python-headless": "4.8", "numpy": "1.26.4"}
    findings = list(opencv_build.check(machine(tmp_path, {"opencv": answer}, tree=PC, packages=packages)))
    assert findings[1].fix.startswith("pip uninstall opencv-python opencv-contrib-python-headless")


def test_cameras_are_listed_with_their_formats_and_their_faults(tmp_path: Path) -> None:
    devices = [
        {"path": "/dev/video0", "name": "UVC", "driver": "uvcvideo", "formats": {"MJPG": "1920x1080"}, "error": None},
        {
            "path": "/dev/video1",
            "name": "vi-output, imx219",
            "driver": "tegra-video",
            "formats": {"RG10": "3280x2464"},
            "error": None,
        },
        {"path": "/dev/video2", "name": "", "driver": "", "formats": {}, "error": "Permission denied"},
        {"path": "/dev/video3", "name": "", "driver": "", "formats": {}, "error": "Device or resource busy"},
    ]
    found = {f.check: f for f in cameras.check(machine(tmp_path, {"cameras": Answer(devices)}))}
    assert found["video0"].found == "UVC: MJPG up to 1920x1080"
    assert "nvarguscamerasrc" in found["video1"].fix
    assert found["video2"].known == "camera-permission"
    assert found["video3"].status == "problem"
    (none,) = cameras.check(machine(tmp_path, {"cameras": Answer([])}, tree=PC))
    assert none.status == "note"


def test_a_processor_without_vnni_is_told_of_where_openvino_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    answers = {
        "onnxruntime": Answer({"version": "1.31.1", "providers": ["CPUExecutionProvider"]}),
        "openvino": Answer({"version": "2026.4.1", "devices": {"CPU": "Some CPU"}}),
    }
    findings = list(processor_engines.check(machine(tmp_path, answers, tree=PC)))
    assert statuses(findings) == {"threads": "ok", "onnxruntime": "ok", "openvino": "ok", "int8-arithmetic": "note"}
    vnni = {**PC, "proc/cpuinfo": PC["proc/cpuinfo"].replace("fma", "fma avx512_vnni")}
    findings = list(processor_engines.check(machine(tmp_path, answers, tree=vnni)))
    assert statuses(findings)["int8-arithmetic"] == "ok"


def test_more_threads_than_cores_are_told_of(tmp_path: Path) -> None:
    answers = {"onnxruntime": Answer({"version": "1.31.1", "providers": []})}
    cgroup = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"}
    crowded = machine(
        tmp_path,
        answers,
        tree={**PC, **cgroup},
        target="onnxruntime",
        environment={"OMP_NUM_THREADS": "8", "SECRET": "x"},
    )
    findings = list(processor_engines.check(crowded))
    assert statuses(findings)["threads"] == "note"
    assert findings[0].details == {"OMP_NUM_THREADS": "8"}


TRIAL: dict[str, Any] = {
    "goldens": [{"tensor": "output:boxes", "max_difference": 0.1, "of_tolerance": 0.2, "passed": True}],
    "layers": {"a": "u8", "b": "i8", "c": "f32"},
    "latency_ms": {"runs": 20, "median": 4.2, "least": 4.0, "most": 5.1},
    "settings": {},
}


def trials(tmp_path: Path, result: dict[str, Any] | None, error: str = "") -> list[Finding]:
    bundle = tiny_bundle(tmp_path)
    asked = machine(tmp_path / "m", {"trial": Answer(result, error)}, tree=PC)
    working = [Finding("onnxruntime", "ok", ""), Finding("openvino", "note", ""), Finding("tensorrt", "ok", "")]
    return list(try_bundle(asked, bundle, working))


def test_a_bundle_is_tried_on_the_engines_that_work_and_told_with_its_layers_and_time(tmp_path: Path) -> None:
    (finding,) = trials(tmp_path, TRIAL)
    assert (finding.check, finding.status) == ("ort-fp32", "ok")
    assert "4.20 ms a frame (4.00 to 5.10, 20 runs)" in finding.found
    assert "of 3 convolutions and products 67% are int8: 1 u8, 1 i8, 1 f32" in finding.found


def test_golden_tensors_that_differ_are_a_problem(tmp_path: Path) -> None:
    wrong = {**TRIAL, "goldens": [{**TRIAL["goldens"][0], "passed": False}]}
    (finding,) = trials(tmp_path, wrong)
    assert finding.status == "problem"
    assert "output:boxes" in finding.found


def test_an_engine_that_crashes_on_the_bundle_is_a_problem_with_the_fix(tmp_path: Path) -> None:
    (finding,) = trials(tmp_path, None, "\nit was ended by signal 4")
    assert (finding.status, finding.known) == ("problem", "illegal-instruction")


def test_an_int8_model_without_one_int8_layer_is_a_problem(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path)
    files = tuple(f.model_copy(update={"precision": "int8"}) if f.role == "model" else f for f in bundle.files)
    quantized = replace(bundle, manifest=bundle.manifest.model_copy(update={"files": files}))
    for layers, status in (({"a": "f32"}, "problem"), ({"a": "f32", "b": "u8"}, "ok")):
        asked = machine(tmp_path / "m", {"trial": Answer({**TRIAL, "layers": layers})}, tree=PC)
        (finding,) = try_bundle(asked, quantized, [Finding("onnxruntime", "ok", "")])
        assert (finding.check, finding.status) == ("ort-int8", status)


def test_the_share_of_int8_counts_signed_and_unsigned() -> None:
    assert int8_share(TRIAL["layers"]) == pytest.approx(2 / 3)
    assert int8_share({"a": "int8", "b": "Int8", "c": "fp16", "d": "fp16"}) == 0.5
    assert int8_share({}) == 0.0


def test_layers_are_asked_of_backends_that_tell_also_behind_tiles() -> None:
    class Telling:
        def layer_precisions(self) -> dict[str, str]:
            return {"conv": "u8"}

    class Tiled:
        engine = Telling()

    assert layer_precisions(Telling()) == layer_precisions(Tiled()) == {"conv": "u8"}
    assert layer_precisions(object()) == {}


def test_tensorrt_tells_of_its_layers_through_its_inspector() -> None:
    class Runner:
        def layers(self) -> str:
            convolution = {"Name": "conv", "LayerType": "CaskConvolution", "Weights": {"Type": "Int8", "Count": 9}}
            return json.dumps({"Layers": [convolution, {"Name": "copy", "LayerType": "Reformat"}]})

    assert layer_precisions(Runner()) == {"conv": "int8"}


def test_a_precision_without_golden_tensors_is_run_and_said_not_to_be_compared(tmp_path: Path) -> None:
    (finding,) = trials(tmp_path, {**TRIAL, "goldens": None})
    assert finding.status == "note"
    assert finding.found.startswith("no golden tensors to compare with; 4.20 ms")


EVERYTHING_FINE = {
    "driver": Answer(ORIN),
    "cuda": Answer({"version": "12.6", "file": "/usr/local/cuda/lib64/libcudart.so.12"}),
    "tensorrt": Answer(
        {"version": "10.3.0", "file": "/usr/lib/python3/dist-packages/tensorrt/__init__.py", "types": ""}
    ),
    "onnxruntime": Answer({"version": "1.23.2", "providers": ["CPUExecutionProvider"]}),
    "openvino": Answer(None, "ModuleNotFoundError: No module named 'openvino'"),
    "opencv": Answer({"version": "4.8.0", "file": "cv2.so", "build": SYSTEM_OPENCV, "numpy": "1.26.4"}),
    "cameras": Answer([]),
}


def test_a_good_jetson_has_no_problem_and_openvino_is_no_part_of_it(tmp_path: Path) -> None:
    asked: list[str] = []
    findings = examine(machine(tmp_path, EVERYTHING_FINE), tell=asked.append)
    assert healthy(findings), findings
    assert statuses(findings)["openvino"] == "note"
    assert asked[0] == "python setup"
    assert "openvino" not in statuses(examine(machine(tmp_path, EVERYTHING_FINE, target="tensorrt")))


def test_a_check_that_fails_itself_hides_nothing(tmp_path: Path) -> None:
    broken = replace(
        machine(tmp_path, EVERYTHING_FINE), ask=lambda name, *_: {**EVERYTHING_FINE, "cuda": Answer({})}[name]
    )
    findings = examine(broken)
    assert statuses(findings)["nvidia_driver"] == "unknown"
    assert statuses(findings)["opencv"] == "ok"


def test_the_report_names_no_user_no_machine_and_no_password() -> None:
    text = (
        "/home/alice/models/x.onnx and /home/bob/.venv, /data/alice/y, on mybench7 rtsp://admin:secret@10.0.0.5/1, /run/user/alice "
        "nvidia alice-smi"
    )
    cleared = without_names({"a": [text], "b": 3, "c": None}, home="/home/alice", user="alice", host="mybench7")
    assert cleared["b"] == 3
    assert cleared["c"] is None
    assert cleared["a"] == [
        "~/models/x.onnx and /home/***/.venv, /data/***/y, on *** rtsp://***@10.0.0.5/1, /run/user/*** nvidia alice-smi"
    ]


def test_a_user_who_is_called_like_the_driver_does_not_blot_it_out() -> None:
    cleared = without_names("NVIDIA nvidia /proc/driver/nvidia", home="/home/nvidia", user="nvidia", host="nvidia")
    assert cleared.startswith("NVIDIA nvidia ")


def test_the_report_is_json_and_holds_what_the_findings_were_read_from(tmp_path: Path) -> None:
    asked = machine(tmp_path, EVERYTHING_FINE)
    content = json.loads(json.dumps(report(asked, examine(asked), None), allow_nan=False))
    assert content["healthy"] is True
    assert content["device"]["board"].startswith("NVIDIA Jetson Orin Nano")
    (driver,) = (finding for finding in content["findings"] if finding["check"] == "driver")
    assert driver["details"]["gpus"][0]["sm"] == 87
