"""The page of reports, and the pictures in it, as a browser and a reader see them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.browser import WIDTHS, browser, look

from edgewright.pipeline.cli import main
from edgewright.pipeline.metrics.curves import ConfusionMatrix, PrCurve
from edgewright.pipeline.per_image import matched, save_per_image
from edgewright.pipeline.report.figures import Plot, drawn
from edgewright.pipeline.report.plots import Point, confusion, pareto_front, precision_recall
from edgewright.pipeline.report.schema import BundleIdentity, DataIdentity, Measurement, Report
from edgewright.pipeline.report.worst import worst_images
from edgewright.runtime.draw import annotate
from edgewright.runtime.results import Detections

pytest.importorskip("matplotlib")

EVIL = "<script>alert(1)</script>"
LABELS = ("bolt", EVIL, "nut & washer")
IMAGES = 14


def truth() -> dict[str, Any]:
    annotations = [
        {"id": 1 + 3 * i + c, "image_id": i, "category_id": c, "bbox": [60 * c, 0, 40, 40], "area": 1600, "iscrowd": 0}
        for i in range(IMAGES)
        for c in range(3)
    ]
    return {
        "images": [{"id": i, "width": 200, "height": 50} for i in range(IMAGES)],
        "annotations": annotations,
        "categories": [{"id": c, "name": name} for c, name in enumerate(LABELS)],
    }


def results(missed: set[int]) -> list[dict[str, Any]]:
    """Every object, but in the missed images only one that is not there."""
    found = []
    for annotation in truth()["annotations"]:
        shift = 500 if annotation["image_id"] in missed else 0
        x, y, w, h = annotation["bbox"]
        score = 0.9 - annotation["id"] / 1000
        found.append({**annotation, "bbox": [x + shift, y, w, h], "score": score})
    return found


def write_report(path: Path, *, ap: float, missed: set[int], digest: str, p50: float) -> Path:
    kept = save_per_image(
        path.with_name(f"{path.name}.npz"), matched(truth(), None, results(missed), max_detections=100)
    )
    values = {"AP": ap, "AP50": ap, "AP@dark": ap, **{f"AP/{label}": ap for label in LABELS}}
    numbers = [Measurement(name=n, value=v, unit="fraction", higher_is_better=True) for n, v in values.items()]
    for stage, share in (("prepare", 0.1), ("infer", 0.8), ("finish", 0.1), ("end_to_end", 1.0)):
        numbers += [
            Measurement(
                name=f"latency.{stage}.p{q}", value=share * p50 * (1 + q / 500), unit="ms", higher_is_better=False
            )
            for q in (50, 95, 99)
        ]
    report = Report(
        bundle=BundleIdentity(name=f"belt {EVIL}", digest=digest * 32, task="detect", precision="fp32"),
        data=DataIdentity(uri="coco:a:b", digest="d" * 64, images=IMAGES),
        settings={"evaluate": {"backend": "ort", "conf_threshold": 0.001}},
        device={"cpu_model": "Cortex-A78AE", "isa": ["neon"]},
        state={"governor": "performance", "ledger": {"seconds": 2.5, "gauges": {"watts": 4.0}, "complaints": []}},
        measurements=tuple(numbers),
        per_image=kept,
        notes=(f"a note {EVIL}",),
        created="2026-01-01T00:00:00+00:00",
    )
    path.write_text(report.model_dump_json(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A candidate that misses the objects of images 3 and 4, and a baseline that finds all."""
    folder = tmp_path_factory.mktemp("reports")
    candidate = write_report(folder / "candidate.json", ap=0.8, missed={3, 4}, digest="ab", p50=9.0)
    return candidate, write_report(folder / "baseline.json", ap=1.0, missed=set(), digest="cd", p50=8.0)


@pytest.fixture(scope="module")
def page(files: tuple[Path, Path]) -> Path:
    path = files[0].parent / "page.html"
    run("report", files[0], "--baseline", files[1], "-o", path, "--plots", path.parent / "figures")
    return path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


def run(*words: object, status: int = 0) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == status


@pytest.mark.parametrize("width", WIDTHS)
def test_a_browser_shows_all_figures_without_complaint_or_scrolling_aside(
    page: Path, chromium: Any, width: int
) -> None:
    seen = look(chromium, page, width)
    assert (seen.console, seen.requests, seen.scroll_width) == ([], [], width)
    assert (seen.cut, seen.broken) == (0, [])
    # Accuracy against latency, stages, two releases' curves and confusions, and the classes.
    assert seen.figures == 7
    assert len(seen.names) == 7
    assert all(len(name) > 20 for name in seen.names)
    assert f"belt {EVIL}" in seen.text
    assert "seconds 2.5, gauges watts 4.0, complaints none" in seen.text


def test_a_label_is_text_and_never_code(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_ids_of_the_figures_are_unique(page: Path) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page.read_text(encoding="utf-8"))
    assert len(ids) == len(set(ids)) > 100


def test_parts_of_the_data_are_folded_away_below_the_whole(page: Path) -> None:
    whole, _, folded = page.read_text(encoding="utf-8").partition("<summary>1 of parts of the data</summary>")
    assert "<td>AP50</td>" in whole
    assert "<td>AP@dark</td>" not in whole
    assert "<td>AP@dark</td>" in folded


def test_the_page_names_the_images_that_lost_most(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    rows = re.findall(r"<tr><td>(\d+)</td><td class=\"n\">([\d.]+)</td><td class=\"n\">([\d.]+)</td></tr>", html)
    assert rows == [("3", "0.00", "1.00"), ("4", "0.00", "1.00")]


def test_figures_are_written_as_pictures_too(page: Path) -> None:
    pictures = sorted((page.parent / "figures").iterdir())
    assert len(pictures) == 14
    assert all(path.read_bytes().startswith((b"\x89PNG", b"<?xml")) for path in pictures)
    # Ink of the page would be invisible or wrong in a file of its own.
    assert not any(b"#010203" in path.read_bytes() for path in pictures)


def test_the_front_holds_what_no_other_beats_in_both() -> None:
    points = [Point(name, accuracy, latency) for name, accuracy, latency in (
        ("slow and good", 0.5, 30), ("fast", 0.3, 10), ("beaten", 0.3, 20), ("worse and faster", 0.2, 5), ("twin", 0.3, 10))]  # fmt: skip
    assert [point.label for point in pareto_front(points)] == ["worse and faster", "fast", "slow and good"]


def test_curves_and_confusions_say_in_words_what_they_show() -> None:
    half = PrCurve("bolt", np.array([0.5]), np.array([1.0]), np.array([0.9]))
    # Precision 1 up to recall 0.5 covers 51 of the 101 recall levels.
    assert "area under the mean curve 0.505" in drawn(precision_recall, "belt", [half], "pr").alt
    matrix = ConfusionMatrix(("bolt", "nut", "background"), np.array([[8.0, 2, 0], [0, 5, 1], [3, 0, 0]]))
    plot: Plot = drawn(confusion, "belt", matrix, "matrix")
    assert "background called bolt 3 times; bolt called nut 2 times" in plot.alt


def test_images_of_other_data_are_not_compared(files: tuple[Path, Path]) -> None:
    from edgewright.pipeline.per_image import PerImage

    whole = matched(truth(), None, results(set()), max_detections=100)
    fewer = PerImage({"": whole.matches[""].of_images(np.arange(5))})
    assert worst_images(fewer, whole, 3) == ()


def test_panoptic_maps_are_scored_by_the_quality_of_their_segments() -> None:
    from edgewright.pipeline.metrics.image_sums import sums_of
    from edgewright.pipeline.metrics.panoptic import SegmentCounts
    from edgewright.pipeline.per_image import PerImage

    def kept(*tables: list[list[float]]) -> PerImage:
        sums = sums_of([7, 8], [np.array(table) for table in tables], (2, 4))
        return PerImage(segments=SegmentCounts(("road", "car"), np.array([False, True]), sums))

    # Sum of the overlaps of hits, hits, false alarms, misses; PQ is the first / (hits + half of the others), by hand.
    good = kept([[0.9, 1, 0, 0], [0.7, 1, 0, 0]], [[0.9, 1, 0, 0], [0, 0, 0, 0]])
    bad = kept([[0.8, 1, 0, 0], [0, 0, 1, 1]], [[0.9, 1, 0, 0], [0, 0, 0, 0]])
    (worst,) = worst_images(bad, good, 3)
    assert worst.image_id == 7
    assert [worst.candidate, worst.baseline] == pytest.approx([0.8 / 2, 0.8])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("--data", "synthetic:1:2"),
            "cannot be shown without --bundle and --baseline-bundle and --baseline; give all four",
        ),
        (("--baseline", "nowhere.json"), "nowhere.json: there is no such report"),
    ],
)
def test_what_is_missing_is_named(
    options: tuple[str, ...],
    sentence: str,
    files: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run("report", files[0], "-o", tmp_path / "page.html", *options, status=2)
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_another_bundle_than_the_one_measured_is_refused(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.tiny import tiny_bundle

    path = tiny_bundle(tmp_path).path
    words = ("--data", "synthetic:1:2", "--bundle", path, "--baseline-bundle", path)
    run("report", files[0], "--baseline", files[1], "-o", tmp_path / "page.html", *words, status=2)
    assert "are of abababababab; give the bundle that was measured" in capsys.readouterr().err


def changed(source: Path, target: Path, section: str, **values: Any) -> Path:
    content = json.loads(source.read_text(encoding="utf-8")) | {"per_image": None}
    content[section] |= values
    target.write_text(json.dumps(content), encoding="utf-8")
    return target


@pytest.mark.parametrize(
    ("section", "values", "field"),
    [("data", {"digest": "e" * 64}, "data.digest"), ("bundle", {"task": "semantic"}, "bundle.task")],
)
def test_a_baseline_of_other_data_or_another_task_is_refused_by_its_field(
    files: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    section: str,
    values: dict[str, str],
    field: str,
) -> None:
    baseline = changed(files[1], tmp_path / "baseline.json", section, **values)
    run("report", files[0], "--baseline", baseline, "-o", tmp_path / "page.html", status=2)
    assert f"cannot be compared: {field} is" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_a_baseline_of_other_settings_is_said_to_be(files: tuple[Path, Path], tmp_path: Path) -> None:
    baseline = changed(
        files[1], tmp_path / "baseline.json", "settings", evaluate={"backend": "ort", "conf_threshold": 0.3}
    )
    run("report", files[0], "--baseline", baseline, "-o", tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "settings.evaluate.conf_threshold is 0.001 in the candidate and 0.3 in the baseline" in html


def test_a_page_of_another_name_than_html_is_refused(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("report", files[0], "-o", tmp_path / "page.pdf", status=2)
    assert "the page is HTML" in capsys.readouterr().err


def f1(found: Detections, truth: Detections) -> float:
    """Of boxes that overlap by half or more with one of their class; enough where no two objects overlap so."""
    corners = np.concatenate([found.boxes_xyxy, truth.boxes_xyxy])
    low, high = (
        f(found.boxes_xyxy[:, None, part], truth.boxes_xyxy[None, :, part])
        for f, part in ((np.maximum, slice(0, 2)), (np.minimum, slice(2, 4)))
    )
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
    overlap = shared / (areas[: len(found), None] + areas[None, len(found) :] - shared)
    hit = ((overlap >= 0.5) & (found.class_ids[:, None] == truth.class_ids)).any(axis=0).sum()
    return float(2 * hit / (len(found) + len(truth)))


def test_the_images_that_lost_most_are_shown_with_what_their_scores_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that finds nothing, beside the one it is made of, which shows almost nothing where it runs live."""
    from tests.planted import planted

    from edgewright import configs
    from edgewright.pipeline.datasets import open_dataset
    from edgewright.pipeline.evaluate import evaluate
    from edgewright.pipeline.exporting import export
    from edgewright.pipeline.recipe import export_request

    drawn_results: list[Any] = []

    def annotated(image: Any, found: Any, labels: Any) -> Any:
        drawn_results.append(found)
        return annotate(image, found, labels)

    monkeypatch.setattr("edgewright.pipeline.report.worst.annotate", annotated)
    shipped = export(export_request(str(Path(configs.__file__).parent / "conveyor.yaml"), {}), tmp_path / "shipped")
    good = planted(shipped, tmp_path / "good", postprocess={"conf_threshold": 0.99})
    bad = planted(good, tmp_path / "bad", preprocess={"scale": 1 / 255})
    for name, bundle in (("good", good), ("bad", bad)):
        path = tmp_path / f"{name}.json"
        report = evaluate(
            bundle, open_dataset("synthetic:7:3"), threads=1, per_image_path=path.with_suffix(".json.npz")
        )
        path.write_text(report.model_dump_json(), encoding="utf-8")
    words = ("--data", "synthetic:7:3", "--bundle", bad.path, "--baseline-bundle", good.path)
    run("report", tmp_path / "bad.json", "--baseline", tmp_path / "good.json", "-o", tmp_path / "page.html", *words)
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    # Three scenes: found by the candidate, by the baseline, and true.
    assert html.count('<img src="data:image/jpeg;base64,') == 9
    assert html.count("with what is there") == 3
    assert len(re.findall(r"<figcaption>baseline, from score 0\.\d\d on</figcaption>", html)) == 3
    stated = re.findall(r": ([\d.]+) now, ([\d.]+) before</h3>", html)
    for (now, before), *results in zip(stated, *(drawn_results[n::3] for n in range(3)), strict=True):
        candidate, baseline, truth = results
        assert (f"{f1(candidate, truth):.2f}", f"{f1(baseline, truth):.2f}") == (now, before)
