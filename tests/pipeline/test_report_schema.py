"""Reports survive a file, and what is no report, or does not fit to another, is refused in one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgewright.pipeline.console import write_json
from edgewright.pipeline.report.schema import (
    BundleIdentity,
    DataIdentity,
    Measurement,
    Report,
    load_report,
    merge,
    utc_now,
)
from edgewright.runtime.errors import DataError

DATA = DataIdentity(uri="coco:a:b", digest="d1", images=80)


def measured(name: str, value: float = 0.5) -> Measurement:
    return Measurement(name=name, value=value, unit="fraction", higher_is_better=True)


def report(**changes: Any) -> Report:
    return Report(
        **{
            "bundle": BundleIdentity(name="net", digest="b1", task="detect", precision="fp32"),
            "data": DATA,
            "settings": {"evaluate": {"conf_threshold": 0.001, "threads": 2, "multi_label": True, "cache": None}},
            "device": {"cpu_model": "A", "isa": ["avx2", "fma"]},
            "software": {"numpy": "2.0"},
            "measurements": (measured("AP"),),
            "created": "2026-01-01T00:00:00+00:00",
            **changes,
        }
    )


def benchmark(**changes: Any) -> Report:
    settings = {"benchmark": {"threads": 2}}
    return report(**{"data": None, "settings": settings, "measurements": (measured("throughput", 20),), **changes})


def test_a_report_survives_a_file(tmp_path: Path) -> None:
    before = report(notes=("a note",), state={"governor": None, "load": 0.5})
    write_json(tmp_path / "report.json", before.model_dump(mode="json"))
    assert load_report(tmp_path / "report.json") == before
    settings = load_report(tmp_path / "report.json").settings["evaluate"]
    assert [type(value) for value in settings.values()] == [float, int, bool, type(None)]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": 2}, "report format 2, this version reads up to 1; update edgewright"),
        ({"format": None}, "report format None"),
        ({"extra": 1}, "extra: Extra inputs are not permitted"),
        ({"bundle": None}, "bundle: "),
        ({"measurements": [{"name": "AP"}]}, r"measurements\.0\.value: Field required"),
        ({"measurements": 2 * [measured("AP").model_dump()]}, "measured twice: AP"),
    ],
)
def test_a_wrong_report_is_refused(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps({**report().model_dump(mode="json"), **change}))
    with pytest.raises(DataError, match=sentence) as caught:
        load_report(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not JSON, or it is cut short"),
        ('{"format": 1', "cut short"),
        ("[]", "not an Edgewright report"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(DataError, match=sentence):
        load_report(tmp_path / "report.json")


def test_the_mark_that_editors_put_before_a_text_is_no_matter(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(report().model_dump_json(), encoding="utf-8-sig")
    assert load_report(tmp_path / "report.json") == report()


def test_a_missing_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such report"):
        load_report(tmp_path / "nowhere.json")
    with pytest.raises(DataError, match="cannot be read"):
        load_report(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_measurement_is_a_finite_number(value: float) -> None:
    with pytest.raises(ValueError, match="finite number"):
        measured("AP", value)


def test_accuracy_and_speed_merge_into_one_report() -> None:
    merged = merge([report(), benchmark(state={"governor": "performance"}, created="2026-01-02T00:00:00+00:00")])
    assert merged.data == DATA
    assert set(merged.settings) == {"evaluate", "benchmark"}
    assert [m.name for m in merged.measurements] == ["AP", "throughput"]
    assert merged.state == {"governor": "performance"}
    assert merged.created == "2026-01-02T00:00:00+00:00"
    assert merged.measurement("throughput") == measured("throughput", 20)
    assert merged.measurement("AP50") is None


def test_merging_a_report_with_itself_changes_nothing() -> None:
    assert merge([report(), report()]) == report() == merge([report()])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"bundle": BundleIdentity(name="net", digest="b2", task="detect", precision="fp32")}, r"bundle\.digest"),
        ({"bundle": BundleIdentity(name="net", digest="b1", task="detect", precision="int8")}, r"bundle\.precision"),
        ({"data": DataIdentity(uri="coco:a:b", digest="d2", images=80)}, r"data\.digest is 'd1' in one and 'd2'"),
        ({"settings": {"evaluate": {"threads": 1}}}, r"settings\.evaluate"),
        ({"device": {"cpu_model": "B"}}, r"device\.cpu_model is 'A' in one and 'B' in another"),
        ({"measurements": (measured("AP", 0.4),)}, r"measurements\.AP"),
    ],
)
def test_reports_about_different_things_do_not_merge(change: dict[str, Any], field: str) -> None:
    with pytest.raises(DataError, match=field):
        merge([report(), benchmark(**change)])


def test_other_software_is_noted_when_merging() -> None:
    assert merge([report(), benchmark(software={"numpy": "2.1"})]).notes == ("measured with numpy 2.0 and 2.1",)


def test_the_same_data_at_another_path_merges() -> None:
    elsewhere = DataIdentity(uri="coco:c:d", digest="d1", images=80)
    assert merge([report(), benchmark(data=elsewhere)]).data == DATA


def test_the_time_is_utc() -> None:
    assert utc_now().endswith("+00:00")
