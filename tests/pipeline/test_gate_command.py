"""`edgewright gate` as a user calls it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgewright.pipeline.cli import main
from edgewright.pipeline.report.schema import BundleIdentity, Measurement, Report

Gate = Callable[..., tuple[int, str, str]]


def written(path: Path, values: dict[str, float], **changes: Any) -> Path:
    content: dict[str, Any] = {
        "bundle": BundleIdentity(name="nano", digest=path.stem[0] * 64, task="detect", precision="fp32"),
        "data": None,
        "settings": {},
        "device": {"cpu_model": "Cortex-A78AE"},
        "measurements": tuple(
            Measurement(
                name=n, value=v, unit="MiB" if n == "peak_rss" else "fraction", higher_is_better=n != "peak_rss"
            )
            for n, v in values.items()
        ),
        "created": "2026-01-01T10:20:30+00:00",
    }
    path.write_text(Report(**content | changes).model_dump_json(), encoding="utf-8")
    return path


@pytest.fixture(name="gate")
def gate_fixture(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Runs the verb in a folder with a baseline of AP 0.309, a policy, and some candidates."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "base.json", {"AP": 0.309})
    written(tmp_path / "base_speed.json", {"peak_rss": 300})
    written(tmp_path / "good.json", {"AP": 0.31})
    written(tmp_path / "good_speed.json", {"peak_rss": 290})
    written(tmp_path / "poor.json", {"AP": 0.259})
    (tmp_path / "policy.yaml").write_text("allowed_drop: {AP: 0.005}\n", encoding="utf-8")
    (tmp_path / "both.yaml").write_text("allowed_drop: {AP: 0.005}\nallowed_ratio: {peak_rss: 1.2}\n", encoding="utf-8")
    (tmp_path / "floor.yaml").write_text("floors: {AP: 0.3}\n", encoding="utf-8")

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["gate", *words])
        out, err = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, out, err

    return run


def test_a_regression_exits_1_and_the_first_line_names_the_metric(gate: Gate) -> None:
    status, out, err = gate("poor.json", "--baseline", "base.json", "--policy", "policy.yaml")
    assert (status, err) == (1, "")
    assert out.startswith("FAILED: AP 0.259, baseline 0.309, allowed drop 0.005\n")


def test_a_good_candidate_exits_0(gate: Gate) -> None:
    status, out, err = gate("good.json", "--baseline", "base.json", "--policy", "policy.yaml")
    assert (status, err) == (0, "")
    assert out.startswith("PASSED: 1 of 1 limits hold\n")


def test_a_policy_of_absolute_limits_needs_no_baseline(gate: Gate) -> None:
    assert gate("good.json", "--policy", "floor.yaml")[0] == 0
    assert gate("poor.json", "--policy", "floor.yaml")[0] == 1


@pytest.mark.parametrize(
    "words",
    [
        "good.json good_speed.json --baseline base.json base_speed.json --policy both.yaml",
        "--policy both.yaml good.json good_speed.json --baseline base.json base_speed.json",
        "good.json good_speed.json --baseline base.json --baseline base_speed.json --policy both.yaml",
        "--baseline base.json --baseline base_speed.json --policy both.yaml good.json good_speed.json",
        "--policy=both.yaml --baseline=base.json --baseline=base_speed.json good.json good_speed.json",
    ],
)
def test_reports_of_one_side_are_merged_however_they_are_listed(gate: Gate, words: str) -> None:
    status, out, err = gate(*words.split())
    assert (status, err) == (0, "")
    assert out.startswith("PASSED: 2 of 2 limits hold\n")


def test_the_verdict_is_written_in_every_form(gate: Gate, tmp_path: Path) -> None:
    files = {"--json": "v.json", "--junit": "v.xml", "--markdown": "v.md", "--html": "v.html"}
    words = [word for pair in files.items() for word in pair]
    assert gate("poor.json", "--baseline", "base.json", "--policy", "policy.yaml", *words)[0] == 1
    verdict = json.loads((tmp_path / "v.json").read_text(encoding="utf-8"))
    assert (verdict["passed"], verdict["findings"][0]["metric"]) == (False, "AP")
    for name in ("v.xml", "v.md", "v.html"):
        assert "AP 0.259, baseline 0.309, allowed drop 0.005" in (tmp_path / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("none.json --baseline base.json --policy policy.yaml", "none.json: there is no such report"),
        ("good.json --baseline none.json --policy policy.yaml", "none.json: there is no such report"),
        ("good.json --baseline base.json --policy none.yaml", "neither a file nor a built-in policy"),
        ("good.json --baseline base.json --policy wrong.yaml", "there is no key 'floor' (did you mean 'floors'?)"),
        ("empty.json --baseline base.json --policy policy.yaml", "the candidate's report holds no measurement"),
        ("text.json --baseline base.json --policy policy.yaml", "text.json: this is not JSON"),
        ("newer.json --baseline base.json --policy policy.yaml", "newer.json: report format 99"),
        (
            "other.json --baseline base.json --policy policy.yaml",
            "device.cpu_model is Carmel in the candidate and Cortex-A78AE",
        ),
        ("good.json --policy policy.yaml", "add --baseline BASELINE.json"),
        ("--baseline base.json --policy policy.yaml", "missing argument"),
        ("good.json --baseline base.json", "missing option '--policy'"),
        ("good.json poor.json --baseline base.json --policy policy.yaml", "reports do not fit together: bundle.digest"),
    ],
)
def test_what_cannot_be_judged_exits_2_with_one_sentence(gate: Gate, tmp_path: Path, words: str, sentence: str) -> None:
    (tmp_path / "wrong.yaml").write_text("floor: {AP: 0.3}\n", encoding="utf-8")
    (tmp_path / "text.json").write_text("no report", encoding="utf-8")
    written(tmp_path / "empty.json", {})
    written(tmp_path / "other.json", {"AP": 0.31}, device={"cpu_model": "Carmel"})
    newer = json.loads((tmp_path / "good.json").read_text(encoding="utf-8")) | {"format": 99}
    (tmp_path / "newer.json").write_text(json.dumps(newer), encoding="utf-8")
    status, out, err = gate(*words.split(), "--json", "v.json")
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert sentence in err
    assert not (tmp_path / "v.json").exists()
