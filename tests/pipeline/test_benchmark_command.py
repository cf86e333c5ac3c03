"""`edgewright benchmark` as a user calls it."""

from pathlib import Path

import pytest
from tests.pipeline.test_scenarios import evaluated
from tests.tiny import tiny_bundle

from edgewright.pipeline import interleaved
from edgewright.pipeline.cli import main
from edgewright.pipeline.report.schema import load_report


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["benchmark", *words])
    out, err = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, out, err


def test_the_result_is_a_table_by_stage_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tiny_bundle(tmp_path)
    quick = ["--seconds", "0", "--iterations", "5", "--warmup", "1", "--threads", "1", "--frames", "synthetic:1:2"]
    status, out, err = run(capsys, str(bundle.path), *quick, "--json", str(tmp_path / "report.json"))
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{bundle.spec.name} fp32 on ort, 1 thread: 5 runs after 1 of warm-up"
    assert lines[1] == "2 frames of 480x640 from synthetic:1:2"
    assert lines[2].split() == ["ms", "p50", "p95", "p99", "mean"]
    assert [line.split()[0] for line in lines[3:7]] == ["prepare", "infer", "finish", "end_to_end"]
    report = load_report(tmp_path / "report.json")
    p50 = report.measurement("latency.infer.p50")
    assert p50 is not None
    assert lines[4].split()[1] == f"{p50.value:.3f}"
    assert any(line.startswith("cold_start: ") and line.endswith(" s") for line in lines)


def test_suppression_and_tiles_are_measured_as_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tiny_bundle(tmp_path)
    quick = ["--seconds", "0", "--iterations", "2", "--warmup", "0", "--threads", "1", "--frames", "synthetic:1:1"]
    asked = ["--nms", "soft?method=linear", "--tiles", "240x320?overlap=0"]
    status, _, err = run(capsys, str(bundle.path), *quick, *asked, "--json", str(tmp_path / "report.json"))
    assert (status, err) == (0, "")
    used = load_report(tmp_path / "report.json").settings["benchmark"]
    assert (used["nms"], used["tiles"], used["tiles.whole"]) == ("soft?method=linear", "240x320", True)


def test_a_scenario_and_an_accuracy_are_further_numbers_of_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tiny_bundle(tmp_path)
    for name, value in (("int8", 0.297), ("fp32", 0.3)):
        (tmp_path / f"{name}.json").write_text(evaluated(value).model_dump_json(), encoding="utf-8")
    quick = ["--seconds", "0", "--iterations", "5", "--warmup", "1", "--threads", "1", "--scenario", "multi_stream"]
    accuracy = ["--accuracy", str(tmp_path / "int8.json"), str(tmp_path / "fp32.json")]
    status, out, _ = run(capsys, str(bundle.path), *quick, *accuracy)
    lines = out.splitlines()
    assert status == 0
    assert any(line.startswith("multi_stream.p99: ") and line.endswith(" ms") for line in lines)
    assert "accuracy_of_reference: 99 %" in lines
    assert any("shorter than MLPerf wants the scenario to be: 1 of 662 queries" in line for line in lines)


def test_a_baseline_measured_in_turn_is_a_table_of_ratios(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interleaved, "LAUNCHES", 2)
    monkeypatch.setattr(interleaved, "_BLOCK_S", 0.0)
    path = str(tiny_bundle(tmp_path).path)
    quick = ["--seconds", "0", "--iterations", "5", "--warmup", "1", "--threads", "1", "--against", path]
    status, out, _ = run(capsys, path, *quick, "--json", str(tmp_path / "report.json"))
    assert status == 0
    rows = [line.split() for line in out.splitlines() if line.startswith("latency.")]
    assert [row[0] for row in rows] == [
        f"latency.{stage}.{number}"
        for stage in ("prepare", "infer", "finish", "end_to_end")
        for number in ("p50", "p99")
    ]
    against = load_report(tmp_path / "report.json").against
    assert against is not None
    assert float(rows[0][3]) == pytest.approx(against.ratios[0].ratio, abs=5e-4)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--against-backend", "ov"], "add --against BASELINE"),
        (["--against", "nowhere"], "there is no bundle at nowhere"),
        (["--scenario", "server"], "--scenario"),
        (["--accuracy", "none.json", "none.json"], "none.json: there is no such report"),
        (["--backend", "orth"], "there is no backend 'orth'"),
        (["--precision", "int8"], "holds no int8 model"),
        (["--iterations", "0"], "--iterations"),
        (["--nms", "soft?sigma=-1"], "sigma is -1"),
        (["--tiles", "64"], "--tiles wants height x width"),
        (["--frames", "nowhere"], "nowhere"),
        (["--json", "/proc/none/report.json"], "cannot write /proc/none/report.json"),
    ],
)
def test_misuse_exits_2_with_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    status, out, err = run(capsys, str(tiny_bundle(tmp_path).path), *words)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert sentence in err


def test_a_bundle_that_is_not_there_is_misuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, str(tmp_path / "none"))
    assert status == 2
    assert "there is no bundle at" in err
