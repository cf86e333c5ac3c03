"""`edgewright benchmark` as a user calls it."""

from pathlib import Path

import pytest
from tests.tiny import tiny_bundle

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


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--backend", "orth"], "there is no backend 'orth'"),
        (["--precision", "int8"], "holds no int8 model"),
        (["--iterations", "0"], "--iterations"),
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
