"""Candidate and baseline in turn, in processes of their own."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.tiny import blob_image, tiny_bundle
from tests.tiny_prompted import bright_in_box_bundle

from edgewright.pipeline import interleaved
from edgewright.pipeline.benchmark import benchmark
from edgewright.pipeline.gate import gate
from edgewright.pipeline.interleaved import Effort, Side, measure_interleaved
from edgewright.pipeline.policy import Policy
from edgewright.pipeline.report.schema import Report, load_report, merge
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import BackendError, DataError, UsageError


@pytest.fixture(scope="module", name="bundle")
def bundle_fixture(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("interleaved"))


@pytest.fixture(scope="module", name="report")
def report_fixture(bundle: Bundle) -> Report:
    """The bundle measured against itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interleaved, "LAUNCHES", 2)
        patch.setattr(interleaved, "_BLOCK_S", 0.0)
        return benchmark(
            bundle,
            threads=1,
            seconds=0,
            iterations=1,
            warmup=2,
            cold_start_repeats=0,
            against=Side(bundle, "ort", "fp32"),
        )


def test_a_report_names_the_baseline_and_has_a_ratio_for_every_stage(report: Report, bundle: Bundle) -> None:
    assert report.against is not None
    assert report.against.baseline.digest == bundle.digest
    assert {ratio.name for ratio in report.against.ratios} == {
        f"latency.{stage}.p{q}" for stage in ("prepare", "infer", "finish", "end_to_end") for q in (50, 95, 99)
    }
    assert all(ratio.interval[0] <= ratio.ratio <= ratio.interval[1] for ratio in report.against.ratios)
    assert report.against.settings["threads"] == 1


def test_every_launch_runs_every_round(report: Report) -> None:
    assert report.against is not None
    assert (report.against.launches, report.against.rounds) == (2, 12)
    # Of every block the first run is left out.
    assert report.state["runs"] == 12 * 5


def test_a_report_of_one_run_is_stored_and_read_again(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(report.model_dump_json(), encoding="utf-8")
    assert load_report(path) == report
    assert merge([report.model_copy(update={"against": None}), report]).against == report.against


def test_the_gate_judges_what_was_measured_in_turn(report: Report) -> None:
    verdict = gate(report, report, Policy(allowed_ratio={"latency.end_to_end.p50": 1e6}))
    (finding,) = verdict.findings
    assert (finding.status, finding.ratio is not None, finding.noise is not None) == ("pass", True, True)
    assert "in turn" in finding.sentence


def test_the_gate_needs_no_other_report_for_what_was_measured_in_turn(report: Report) -> None:
    assert gate(report, None, Policy(allowed_ratio={"latency.end_to_end.p50": 1e6})).passed
    verdict = gate(report, None, Policy(allowed_ratio={"model_size": 1.1}))
    assert verdict.headline.startswith("FAILED: model_size is compared with the baseline but none is given")


def test_another_baseline_than_the_one_measured_in_turn_is_refused_by_field(report: Report) -> None:
    other = report.model_copy(update={"bundle": report.bundle.model_copy(update={"digest": "f" * 64}), "against": None})
    with pytest.raises(
        DataError, match=r"against\.baseline\.digest is .* in the candidate and ffffffffffff in the base"
    ):
        gate(report, other, Policy(allowed_ratio={"latency.end_to_end.p50": 1.1}))


def test_another_precision_than_the_one_measured_in_turn_is_refused_by_field(report: Report) -> None:
    other = report.model_copy(
        update={"bundle": report.bundle.model_copy(update={"precision": "int8"}), "against": None}
    )
    with pytest.raises(DataError, match=r"against\.baseline\.precision is fp32 in the candidate and int8 in the base"):
        gate(report, other, Policy(allowed_ratio={"latency.end_to_end.p50": 1.1}))


def test_a_baseline_that_was_run_otherwise_is_refused_by_field(report: Report) -> None:
    assert report.against is not None
    against = report.against.model_copy(update={"settings": {**report.against.settings, "threads": 7}})
    with pytest.raises(DataError, match=r"settings\.benchmark\.threads is 1 in the candidate and 7"):
        gate(report.model_copy(update={"against": against}), None, Policy(allowed_ratio={"latency.*": 1.1}))


def test_every_field_that_differs_is_refused_or_noted_by_its_name(report: Report) -> None:
    limits = Policy(budgets={"model_size": 1e6})
    alone = report.model_copy(update={"against": None})
    for key in report.settings["benchmark"]:
        settings = {"benchmark": {**report.settings["benchmark"], key: "another"}}
        check_field(
            f"settings.benchmark.{key}", f"benchmark {key}", alone.model_copy(update={"settings": settings}), alone
        )
    for key in report.device:
        device = {**report.device, key: "another"}
        check_field(f"device.{key}", None, alone.model_copy(update={"device": device}), alone)
    assert gate(alone, alone, limits).passed


# Frames by another path, another version of the engine and another precision may be compared; the same precision that was
# executed otherwise may not.
FREE = ("frames", "engine_version", "precision", "precision_hint")


def check_field(field: str, note: str | None, candidate: Report, baseline: Report) -> None:
    """The difference is refused under its name, or a note names it and both values."""
    limits = Policy(budgets={"model_size": 1e6})
    if note is None or field.rpartition(".")[2] not in FREE:
        with pytest.raises(DataError, match=rf"cannot be compared: {re.escape(field)} is another in the candidate"):
            gate(candidate, baseline, limits)
    else:
        notes = gate(candidate, baseline, limits).notes
        assert any(found.startswith(f"{note}: candidate another, baseline ") for found in notes), notes


def test_a_process_that_fails_says_why(bundle: Bundle, tmp_path: Path) -> None:
    gone = Side(replace(bundle, path=tmp_path / "none"), "ort", "fp32")
    with pytest.raises(BackendError, match=r"^a process of the benchmark failed: there is no bundle at"):
        measure_interleaved(gone, gone, [blob_image()], Effort(1, 0, 1, 1), tell=lambda phase, done: None)


def test_networks_of_several_graphs_are_measured_in_turn_by_their_own_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interleaved, "LAUNCHES", 2)
    side = Side(bright_in_box_bundle(tmp_path / "prompted"), "ort", "fp32")
    found = measure_interleaved(side, side, [blob_image()], Effort(1, 0, 1, 1), tell=lambda phase, done: None)
    stages = {ratio.name.split(".")[1] for ratio in found.against.ratios}
    assert stages == {"prepare", "encode", "decode", "finish", "end_to_end"}
    assert all(run.infer is None and run.encode is not None for run in found.runs)


def test_a_scenario_is_not_run_in_turn(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="a scenario is run alone"):
        benchmark(bundle, against=Side(bundle, "ort", "fp32"), scenario="offline")
