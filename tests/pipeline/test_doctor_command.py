"""`edgewright doctor` as a user calls it, on this machine."""

import io
import json
import os
from pathlib import Path

import pytest
from tests.tiny import tiny_bundle

from edgewright.pipeline.cli import main
from edgewright.pipeline.doctor.machine import ask_probe, this_machine


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["doctor", *words])
    out, err = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, out, err


def test_a_bundle_is_tried_out_and_the_report_can_be_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "alice"))
    bundle = tiny_bundle(tmp_path)
    file = tmp_path / "doctor.json"
    status, out, _ = run(capsys, str(bundle.path), "--target", "onnxruntime", "--json", str(file))
    content = json.loads(file.read_text())
    problems = [finding for finding in content["findings"] if finding["status"] == "problem"]
    assert (status, content["healthy"]) == ((1, False) if problems else (0, True))
    (tried,) = (finding for finding in content["findings"] if finding["check"] == "ort-fp32")
    assert tried["status"] == "ok"
    assert all(golden["passed"] for golden in tried["details"]["goldens"])
    assert tried["details"]["latency_ms"]["least"] > 0
    assert content["bundle"] == {"name": bundle.spec.name, "digest": bundle.digest}
    assert "alice" not in file.read_text()
    lines = out.splitlines()
    assert lines[0].startswith("edgewright ")
    assert any(line.startswith("ok       ort-fp32 ") for line in lines)
    checks = {finding["check"] for finding in content["findings"]}
    assert {"python", "memory", "disk", "threads", "onnxruntime", "opencv"} <= checks
    assert not {"driver", "tensorrt", "openvino"} & checks


def test_tensorrt_without_a_driver_is_a_problem_and_the_exit_status_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    if ask_probe("driver").value is not None:
        pytest.skip("this machine has an NVIDIA driver")
    status, out, err = run(capsys, "--target", "tensorrt")
    assert (status, err) == (1, "")
    assert "PROBLEM  driver " in out
    assert "--backend ort" in out
    assert "problem" in out.splitlines()[-1]


def test_a_pasted_error_is_explained_with_fix_and_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "ImportError: libnvdla_compiler.so: file too short"
    status, out, _ = run(capsys, "--explain", text)
    assert status == 0
    assert out.startswith("jetson-library-empty: ")
    assert "--runtime nvidia" in out
    monkeypatch.setattr("sys.stdin", io.StringIO(f"Traceback (most recent call last):\n{text}\n"))
    assert run(capsys, "--explain", "-")[1] == out


def test_an_error_that_nobody_knows_is_said_to_be_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--explain", "the flux capacitor is empty")
    assert status == 1
    assert out.startswith("no known failure says this")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("no_such_bundle",), "there is no bundle at no_such_bundle"),
        (("--explain", "x", "--target", "openvino"), "leave the other arguments out"),
        (("--target", "tensorflow"), "'tensorflow' is not one of"),
        (("--json", "/proc/no/report.json"), "cannot write /proc/no/report.json"),
    ],
)
def test_misuse_is_one_sentence(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_an_engine_that_crashes_ends_its_probe_and_not_the_doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "tensorrt"
    package.mkdir()
    (package / "__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    answer = ask_probe("tensorrt")
    assert answer.value is None
    assert answer.error.endswith("it was ended by signal 11")


def test_an_engine_in_the_working_folder_is_not_taken_for_the_real_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cv2.py").write_text("__version__ = 'false'\n")
    monkeypatch.chdir(tmp_path)
    answer = ask_probe("opencv")
    assert answer.value is not None
    assert answer.value["version"] != "false"


def test_this_machine_knows_its_python_and_packages() -> None:
    machine = this_machine(None)
    assert machine.python.version.count(".") == 2
    assert "numpy" in machine.packages
    assert "edgewright" in machine.packages
