"""Results image by image: the file beside the report, and what the gate makes of it."""

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.pipeline.test_metrics_coco import one_object
from tests.tiny import blob_image, tiny_bundle

from edgewright.pipeline.cli import main
from edgewright.pipeline.datasets import open_dataset
from edgewright.pipeline.evaluate import evaluate
from edgewright.pipeline.gate import gate
from edgewright.pipeline.metrics.coco import CocoResult, box_scores
from edgewright.pipeline.metrics.matches import match_boxes
from edgewright.pipeline.per_image import PerImage, load_per_image, matched, save_per_image
from edgewright.pipeline.policy import Policy
from edgewright.pipeline.report.annotations import verdict_annotations
from edgewright.pipeline.report.junit import verdict_junit
from edgewright.pipeline.report.pages import verdict_html, verdict_markdown
from edgewright.pipeline.report.schema import BundleIdentity, DataIdentity, Measurement, Report, load_report, merge
from edgewright.pipeline.verdict import Verdict
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import DataError

IMAGES = 60
CLASSES = ("nut", "bolt", "rare")
Side = tuple[Report, PerImage]


def scene(quality: Callable[[int], float]) -> tuple[dict[str, Any], list[CocoResult]]:
    """A nut and a bolt in every image, a rare object in three; `quality(image)` is how well they are boxed, 1 exactly."""
    annotations: list[dict[str, Any]] = []
    results: list[CocoResult] = []
    for image in range(1, IMAGES + 1):
        for k, _ in enumerate(CLASSES[: 3 if image <= 3 else 2]):
            box = [10.0 * k, 10.0, 100.0, 100.0]
            label = {"image_id": image, "category_id": k + 1, "bbox": box, "area": 1e4, "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, **label})
            found = [box[0], box[1], 100.0 * quality(image), 100.0]
            score = 1 - (image * 7 % IMAGES) / 100
            results.append(CocoResult(image_id=image, category_id=k + 1, bbox=found, score=score))
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(CLASSES)]
    images = [{"id": image} for image in range(1, IMAGES + 1)]
    return {"info": {}, "images": images, "categories": categories, "annotations": annotations}, results


def side(quality: Callable[[int], float], name: str = "a", **changes: Any) -> Side:
    truth, results = scene(quality)
    content: dict[str, Any] = {
        "bundle": BundleIdentity(name="nano", digest=name * 64, task="detect", precision="fp32"),
        "data": DataIdentity(uri="coco:val:val.json", digest="d" * 64, images=IMAGES),
        "settings": {},
        "measurements": box_scores(truth, results).measurements,
        "created": "2026-01-01T00:00:00+00:00",
    }
    return Report(**content | changes), matched(truth, None, results, max_detections=100)


def judged(candidate: Side, baseline: Side, **policy: Any) -> Verdict:
    rules = Policy.model_validate({"allowed_drop": {"AP": 0.01}, "resamples": 200, **policy})
    return gate(candidate[0], baseline[0], rules, per_image=(candidate[1], baseline[1]))


CHANCE = np.random.default_rng(3).uniform(0.6, 0.95, (2, IMAGES + 1))


def good(image: int) -> float:
    return float(CHANCE[1, image])


def worse(image: int) -> float:
    return good(image) - 0.1


def other(image: int) -> float:
    """As good as `good`, but for chance; measured a little worse."""
    return float(CHANCE[0, image])


def test_a_drop_in_nearly_all_images_fails_and_the_interval_is_told() -> None:
    verdict = judged(side(worse), side(good))
    (finding,) = verdict.findings
    assert (finding.status, finding.blocks, verdict.passed) == ("fail", True, False)
    assert finding.interval is not None
    assert finding.candidate is not None
    assert finding.baseline is not None
    low, high = finding.interval
    assert low < finding.candidate - finding.baseline < high < 0
    assert "change −0." in verdict.headline
    assert "drops are judged by intervals of 0.95 confidence from 200 resamples of 60 images" in verdict.notes


@pytest.mark.parametrize(
    ("when", "headline"),
    [
        ("warn", "PASSED WITH A WARNING: 0 of 1 limits hold; AP "),
        ("pass", "PASSED: 0 of 1 limits hold, 1 undecided"),
        ("fail", "FAILED: AP "),
    ],
)
def test_a_drop_that_may_be_chance_is_undecided_and_says_what_would_settle_it(when: str, headline: str) -> None:
    verdict = judged(side(other), side(good), when_undecided=when)
    (finding,) = verdict.findings
    passes = when != "fail"
    assert (finding.status, finding.blocks, verdict.passed) == ("undecided", not passes, passes)
    assert finding.smallest_drop is not None
    assert finding.smallest_drop > 0.01
    assert finding.images_needed is not None
    assert finding.images_needed > IMAGES
    assert "undecided: 60 images show drops from" in finding.sentence
    assert "would settle it" in finding.sentence
    assert verdict.headline.startswith(headline)
    assert (finding.sentence in verdict.headline) is (when != "pass")


def test_the_first_of_several_doubts_is_in_the_headline_and_the_others_in_the_notes() -> None:
    verdict = judged(side(other), side(good), allowed_drop={"AP": 0.01, "AP75": 0.01})
    assert [finding.metric for finding in verdict.warnings] == ["AP", "AP75"]
    assert verdict.headline.startswith("PASSED WITH 2 WARNINGS: 0 of 2 limits hold; AP 0.")
    assert [note for note in verdict.notes if note.startswith("warning: ")] == [
        f"warning: {verdict.findings[1].sentence}"
    ]
    failed = judged(side(other), side(good), allowed_drop={"AP": 0.01}, floors={"AP75": 1})
    assert failed.headline.startswith("FAILED: AP75 ")
    (doubt,) = failed.warnings
    assert f"warning: {doubt.sentence}" in failed.notes


def test_an_improvement_that_may_be_chance_never_fails() -> None:
    verdict = judged(side(good), side(other), when_undecided="fail")
    assert verdict.findings[0].interval is not None
    assert verdict.findings[0].interval[0] < -0.01
    assert verdict.findings[0].status == "undecided"
    assert verdict.passed


def test_a_release_passes_against_itself_with_no_margin_at_all() -> None:
    policy = {"allowed_drop": {"AP": 0, "AP*": 0, "AR*": 0}, "when_undecided": "fail"}
    assert judged(side(good), side(good), **policy).passed


def test_what_few_images_hold_is_judged_by_its_values_and_said() -> None:
    verdict = judged(side(worse), side(good), allowed_drop={"AP/*": 0.5})
    by_name = {finding.metric: finding for finding in verdict.findings}
    assert by_name["AP/rare"].interval is None
    assert by_name["AP/nut"].interval is not None
    assert any(note.endswith("fewer than 10 images hold such objects: AP/rare") for note in verdict.notes)


def test_a_pattern_widens_the_intervals_of_its_names() -> None:
    alone = judged(side(worse), side(good), allowed_drop={"AP/nut": 0.01}).findings[0].interval
    among = judged(side(worse), side(good), allowed_drop={"A*": 0.01}).findings
    together = next(finding.interval for finding in among if finding.metric == "AP/nut")
    assert alone is not None
    assert together is not None
    assert together[1] - together[0] > alone[1] - alone[0]


def test_a_ratio_of_accuracy_is_judged_by_the_same_interval() -> None:
    ratio = judged(side(worse), side(good), allowed_drop={}, allowed_ratio={"AP": 0.99})
    assert ratio.findings[0].interval == judged(side(worse), side(good)).findings[0].interval
    assert not ratio.passed


def test_a_limit_that_wants_an_improvement_is_judged_by_the_values() -> None:
    verdict = judged(side(good), side(worse), allowed_drop={}, allowed_ratio={"AP": 1.05})
    assert (verdict.passed, verdict.findings[0].interval) == (True, None)


def test_without_results_image_by_image_the_values_are_compared_and_that_is_said() -> None:
    (report, results), (baseline, _) = side(good), side(other)
    policy = Policy(allowed_drop={"AP": 0.001})
    verdict = gate(report, baseline, policy, per_image=(results, None))
    assert verdict.findings[0].interval is None
    assert any("the baseline's report has no results image by image" in note for note in verdict.notes)
    assert any("neither report has results" in note for note in gate(report, baseline, policy).notes)


def test_results_of_different_data_are_not_paired() -> None:
    elsewhere = side(worse, data=DataIdentity(uri="x", digest="e" * 64, images=IMAGES))
    verdict = judged(elsewhere, side(good), compare_across=["data"])
    assert verdict.findings[0].interval is None
    assert "drops are judged by the values alone: the data of the two reports differ" in verdict.notes


def test_results_of_other_images_than_the_report_says_are_refused() -> None:
    report, _ = side(good)
    with pytest.raises(DataError, match="are of different images"):
        judged((report, PerImage({"": match_boxes(*one_object())})), side(good))


def test_every_form_of_the_verdict_begins_with_the_doubt() -> None:
    verdict = judged(side(other), side(good))
    sentence = verdict.findings[0].sentence
    assert "would settle it" in sentence
    junit = verdict_junit(verdict).decode()
    assert 'skipped message="AP' in junit
    assert 'name="verdict" value="PASSED WITH A WARNING' in junit
    heading = verdict_markdown(verdict).splitlines()[0]
    assert heading.startswith("### ⚠️ PASSED WITH A WARNING")
    assert heading.endswith("would settle it")
    page = verdict_html(verdict)
    assert f'<h1 class="doubt">{html.escape(verdict.headline)}</h1>' in page
    assert "<title>passed with warnings: nano</title>" in page
    assert [line.partition(" ")[0] for line in verdict_annotations(verdict)] == ["::warning", "::notice"]
    strict = judged(side(other), side(good), when_undecided="fail")
    assert 'failure message="AP' in verdict_junit(strict).decode()


def test_strict_fails_what_is_undecided_under_any_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["gate", *_written(tmp_path), "--policy", str(tmp_path / "policy.yaml")]
    (tmp_path / "policy.yaml").write_text("allowed_drop: {AP: 0.01}\nresamples: 200\n", encoding="utf-8")
    for strict, status, first in (([], 0, "PASSED WITH A WARNING"), (["--strict"], 1, "FAILED: AP ")):
        with pytest.raises(SystemExit) as ended:
            main([*words, *strict])
        assert ended.value.code == status
        assert capsys.readouterr().out.startswith(first)


def _written(folder: Path) -> list[str]:
    """The reports of a candidate and a baseline with their results, as words of the command."""
    for name, (content, results) in (("candidate", side(other)), ("baseline", side(good))):
        kept = save_per_image(folder / f"{name}.json.npz", results)
        text = content.model_copy(update={"per_image": kept}).model_dump_json()
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return [str(folder / "candidate.json"), "--baseline", str(folder / "baseline.json")]


def test_the_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    _, results = side(other)
    reference = save_per_image(tmp_path / "report.json.npz", results)
    loaded = load_per_image(tmp_path / "report.json", reference)
    assert loaded is not None
    names, weights = {"AP", "AP50", "AR10", "AP/bolt"}, np.arange(IMAGES)
    assert np.array_equal(loaded.scores(names).values(weights), results.scores(names).values(weights))
    assert load_per_image(tmp_path / "elsewhere" / "report.json", reference) is None


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json.npz"
    reference = save_per_image(path, side(good)[1])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="sha256 differs"):
        load_per_image(tmp_path / "report.json", reference)
    strange = save_per_image(path, PerImage({}))
    np.savez(path, format=np.array(99))
    with pytest.raises(DataError, match="format 99, this version reads 1"):
        load_per_image(path, reference.model_copy(update={"sha256": digest(path), "file": strange.file}))


@pytest.mark.parametrize("content", [b"", b"text", b"PK"])
def test_a_file_that_is_no_archive_is_one_sentence_even_where_the_digest_fits(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "report.json.npz"
    reference = save_per_image(path, PerImage({}))
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"it is no \.npz file, or cut short"):
        load_per_image(tmp_path / "report.json", reference.model_copy(update={"sha256": digest(path)}))


def digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_merged_reports_keep_the_reference_and_two_different_ones_do_not_fit(tmp_path: Path) -> None:
    one, two = (save_per_image(tmp_path / name, side(q)[1]) for name, q in (("a", good), ("b", worse)))
    report, _ = side(good)
    with_results = report.model_copy(update={"per_image": one})
    speed = report.model_copy(
        update={"measurements": (Measurement(name="ms", value=1, unit="ms", higher_is_better=False),)}
    )
    assert merge([speed, with_results]).per_image == one
    with pytest.raises(DataError, match=r"per_image\.sha256"):
        merge([with_results, report.model_copy(update={"per_image": two})])


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(words))
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Two pictures with a blob each; the network boxes it well in the first, less well in the second."""
    for number, left in ((7, 16), (9, 48)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), blob_image(box_xyxy=(left, 24, left + 40, 64)))
    boxes = {7: [11, 27, 26, 26], 9: [40, 30, 28, 25]}
    content = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in boxes],
        "categories": [{"id": 10, "name": "nut"}, {"id": 20, "name": "washer"}, {"id": 30, "name": "bolt"}],
        "annotations": [{"image_id": number, "category_id": 30, "bbox": box} for number, box in boxes.items()],
    }
    (tmp_path / "labels.json").write_text(json.dumps(content))
    return f"coco:{tmp_path}:{tmp_path / 'labels.json'}"


@pytest.fixture
def evaluated(tmp_path: Path, bundle: Bundle, data: str) -> Path:
    """A report of the tiny network beside its results image by image."""
    assert call("evaluate", str(bundle.path), "--data", data, "--json", str(tmp_path / "report.json")) == 0
    return tmp_path / "report.json"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("tiny"))


def test_evaluate_writes_the_results_from_which_its_numbers_follow(evaluated: Path) -> None:
    report = load_report(evaluated)
    assert report.per_image is not None
    assert report.per_image.file == "report.json.npz"
    results = load_per_image(evaluated, report.per_image)
    assert results is not None
    scores = results.scores({m.name for m in report.measurements})
    values = dict(zip(scores.names, scores.values(np.ones(scores.images, np.int64)).tolist(), strict=True))
    assert values == pytest.approx({m.name: m.value for m in report.measurements}, abs=1e-6)


def test_the_gate_reads_the_results_beside_the_report(
    evaluated: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "policy.yaml").write_text("allowed_drop: {AP: 0.0}\nresamples: 100\n", encoding="utf-8")
    words = ("gate", str(evaluated), "--baseline", str(evaluated), "--policy", str(tmp_path / "policy.yaml"))
    assert call(*words) == 0
    evaluated.with_suffix(".json.npz").unlink()
    assert call(*words, "--json", str(tmp_path / "verdict.json")) == 0
    assert "report.json.npz is not beside it" in caplog.text
    verdict = json.loads((tmp_path / "verdict.json").read_text(encoding="utf-8"))
    assert any("neither report has results image by image" in note for note in verdict["notes"])


def test_a_network_of_masks_is_resampled_by_boxes_and_masks() -> None:
    truth, results = scene(good)
    square = {"size": [120, 140], "counts": [10, 100] + [20, 100] * 99 + [10 + 120 * 40]}
    from faster_coco_eval.core import mask as coding

    code = coding.frPyObjects(square, 120, 140)
    masks = {**truth, "annotations": [{**label, "segmentation": code} for label in truth["annotations"]]}
    found = [{**result, "segmentation": code} for result in results]
    scores = matched(truth, masks, found, max_detections=100).scores({"AP", "mask-AP"})
    values = dict(zip(scores.names, scores.values(np.ones(IMAGES, np.int64)).tolist(), strict=True))
    assert values["mask-AP"] == pytest.approx(1.0)
    assert values["AP"] < 0.9


def test_evaluating_as_a_library_writes_nothing_unless_asked(tmp_path: Path, bundle: Bundle, data: str) -> None:
    before = sorted(tmp_path.iterdir())
    assert evaluate(bundle, open_dataset(data)).per_image is None
    assert sorted(tmp_path.iterdir()) == before


def test_real_photographs_give_the_numbers_of_the_report(assets: Path, tmp_path: Path) -> None:
    """Those are pycocotools', as the tests of `evaluate` hold; the labels have crowds and every size."""
    from edgewright.export.from_onnx import import_onnx
    from edgewright.export.request import ExportRequest

    request = ExportRequest(source=str(assets / "models" / "yolox_nano.onnx"), family="yolox", labels="coco80")
    folder = assets / "data" / "coco_tiny"
    data = open_dataset(f"coco:{folder / 'val2017'}:{folder / 'annotations' / 'instances_val2017.json'}").first(24)
    report = evaluate(import_onnx(request, tmp_path / "bundle"), data, per_image_path=tmp_path / "report.npz")
    assert report.per_image is not None
    results = load_per_image(tmp_path / "report.json", report.per_image)
    assert results is not None
    scores = results.scores({m.name for m in report.measurements})
    values = dict(zip(scores.names, scores.values(np.ones(24, np.int64)).tolist(), strict=True))
    assert values == pytest.approx({m.name: m.value for m in report.measurements}, abs=1e-6)
