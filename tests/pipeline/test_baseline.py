"""Baselines are files for a review: complete, in a fixed order, and never of a disturbed run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgewright.pipeline.baseline import accept
from edgewright.pipeline.cli import main
from edgewright.pipeline.per_image import load_per_image, matched, save_per_image
from edgewright.pipeline.report.schema import BundleIdentity, Measurement, Report, load_report
from edgewright.runtime.errors import DataError, UsageError

TRUTH: dict[str, Any] = {
    "images": [{"id": 1}],
    "categories": [{"id": 1, "name": "bolt"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}],
}


def written(path: Path, values: dict[str, float], *, per_image: bool = False, **changes: Any) -> Path:
    kept = (
        save_per_image(path.with_name(f"{path.name}.npz"), matched(TRUTH, None, [], max_detections=9))
        if per_image
        else None
    )
    content: dict[str, Any] = {
        "bundle": BundleIdentity(name="belt / old", digest="ab" * 32, task="detect", precision="fp32"),
        "data": None,
        "settings": {"evaluate" if "AP" in values else "benchmark": {"backend": "ort", "threads": 2}},
        "device": {"cpu_model": "Cortex-A78AE"},
        "measurements": tuple(
            Measurement(name=n, value=v, unit="fraction" if "AP" in n else "ms", higher_is_better="AP" in n)
            for n, v in values.items()
        ),
        "per_image": kept,
        "created": "2026-01-01T00:00:00+00:00",
    }
    path.write_text(Report(**content | changes).model_dump_json(), encoding="utf-8")
    return path


def test_reports_of_one_bundle_become_one_file_that_the_gate_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reports = [
        written(tmp_path / "accuracy.json", {"AP50": 0.5, "AP": 0.3}, per_image=True),
        written(tmp_path / "speed.json", {"latency.infer.p50": 7.0}),
    ]
    accepted = accept(reports, note="first release")
    assert accepted.path == Path("baselines/belt-old_ort_fp32.json")
    assert (accepted.replaced, accepted.changes) == (False, ())
    report = load_report(accepted.path)
    assert [m.name for m in report.measurements] == ["AP", "AP50", "latency.infer.p50"]
    assert report.notes[-1].startswith("accepted as baseline 2")
    assert report.notes[-1].endswith("+00:00: first release")
    assert report.per_image == accepted.baseline.per_image
    assert report.per_image is not None
    assert report.per_image.file == "belt-old_ort_fp32.json.npz"
    assert load_per_image(accepted.path, report.per_image) is not None


def test_the_same_reports_give_the_same_lines_but_for_the_acceptance(tmp_path: Path) -> None:
    """A review of a new baseline shows what changed and nothing else."""
    first = written(tmp_path / "a.json", {"AP": 0.3, "AP50": 0.5})
    second = written(
        tmp_path / "b.json", {"AP50": 0.5, "AP": 0.3}, settings={"evaluate": {"threads": 2, "backend": "ort"}}
    )
    lines = []
    for report in (first, second):
        accept([report], tmp_path / "base.json")
        text = (tmp_path / "base.json").read_text(encoding="utf-8")
        lines.append([line for line in text.splitlines() if "accepted as baseline" not in line])
        assert list(json.loads(text)) == sorted(json.loads(text))
    assert lines[0] == lines[1]


def test_what_changes_against_the_baseline_before_is_listed(tmp_path: Path) -> None:
    target = tmp_path / "base.json"
    accept([written(tmp_path / "a.json", {"AP": 0.3, "AP50": 0.5})], target)
    newer = written(
        tmp_path / "b.json", {"AP": 0.31, "AP75": 0.2}, settings={"evaluate": {"backend": "ov", "threads": 2}}
    )
    accepted = accept([newer], target, note="wider")
    assert accepted.replaced
    assert [(c.name, c.before, c.after, c.difference) for c in accepted.changes] == [
        ("settings.evaluate.backend", "ort", "ov", ""),
        ("AP", "0.300", "0.310", "+0.010 (better)"),
        ("AP50", "0.500", "–", ""),
        ("AP75", "–", "0.200", ""),
    ]
    again = accept([target], target)
    assert again.changes == ()
    assert sum(note.startswith("accepted") for note in again.baseline.notes) == 1


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        (lambda p: written(p, {"AP": 0.3}, state={"disturbed": ["the processor was throttled by heat 3 times"]}),
         DataError, "may not become a baseline: the processor was throttled by heat 3 times; measure again"),
        (lambda p: written(p, {"AP": 0.3}, per_image=True).with_name("r.json.npz").unlink(), UsageError, "which is not beside it"),
        (lambda p: written(p, {"AP": 0.3}, per_image=True).with_name("r.json.npz").write_bytes(b"other"), DataError, "sha256 differs"),
        (lambda p: p.write_text("{}"), DataError, "not an Edgewright report"),
    ],
)  # fmt: skip
def test_what_cannot_be_trusted_is_refused_and_nothing_is_written(
    change: Callable[[Path], Any], error: type[Exception], sentence: str, tmp_path: Path
) -> None:
    change(tmp_path / "r.json")
    with pytest.raises(error, match=sentence):
        accept([tmp_path / "r.json"], tmp_path / "baselines" / "base.json")
    assert not (tmp_path / "baselines").exists()


def test_a_file_that_is_no_baseline_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text('{"mine": 1}')
    with pytest.raises(DataError, match="not an Edgewright report"):
        accept([written(tmp_path / "r.json", {"AP": 0.3})], tmp_path / "notes.json")
    assert (tmp_path / "notes.json").read_text() == '{"mine": 1}'


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = written(tmp_path / "r.json", {"AP": 0.3}, per_image=True)
    words = ["baseline", "accept", str(report), "-o", str(tmp_path / "base.json"), "--json", str(tmp_path / "out.json")]
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
    out = capsys.readouterr().out
    assert f"new baseline: {tmp_path / 'base.json'}\nbeside it, for intervals: base.json.npz; commit both\n" in out
    assert out.endswith("nothing changes but the date\n")
    assert json.loads((tmp_path / "out.json").read_text()) == {
        "path": str(tmp_path / "base.json"),
        "replaced": True,
        "changes": [],
    }
