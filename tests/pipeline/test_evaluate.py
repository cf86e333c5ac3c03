"""Accuracy of a bundle, as a library call and as a verb; pycocotools recomputes it from the written detections."""

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
from tests.tiny import blob_image, tiny_bundle

from edgewright.pipeline import evaluate as evaluation
from edgewright.pipeline.cli import main
from edgewright.pipeline.datasets import open_dataset
from edgewright.pipeline.evaluate import evaluate, evaluation_settings
from edgewright.pipeline.report.schema import Report, load_report
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import DataError, MissingDependencyError, SourceError, UsageError
from edgewright.runtime.spec import PostprocessSpec

SUMMARY = (
    *("AP", "AP50", "AP75", "AP-small", "AP-medium", "AP-large"),
    *("AR1", "AR10", "AR100", "AR-small", "AR-medium", "AR-large"),
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Two pictures with a blob each; the network boxes it well in the first, less well in the second."""
    images = tmp_path / "images"
    images.mkdir()
    for number, left in ((7, 16), (9, 48)):
        cv2.imwrite(str(images / f"{number}.png"), blob_image(box_xyxy=(left, 24, left + 40, 64)))
    objects = [(7, 30, [11, 27, 26, 26]), (9, 30, [40, 30, 28, 25]), (9, 10, [0, 0, 20, 20])]
    content = {
        "images": [{"id": number, "file_name": f"{number}.png", "width": 128, "height": 96} for number in (7, 9)],
        "categories": [{"id": 10, "name": "nut"}, {"id": 20, "name": "washer"}, {"id": 30, "name": "bolt"}],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": box} for n, (i, c, box) in enumerate(objects, start=1)
        ],
    }
    (tmp_path / "labels.json").write_text(json.dumps(content))
    return f"coco:{images}:{tmp_path / 'labels.json'}"


def values(report: Report) -> dict[str, float]:
    return {measurement.name: measurement.value for measurement in report.measurements}


def of_summary(report: Report) -> dict[str, float]:
    return {name: value for name, value in values(report).items() if name in SUMMARY}


def recomputed(data: str, detections: Path) -> dict[str, float]:
    """The summary of pycocotools; -1 (no such objects) is left out."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    dataset = open_dataset(data)
    with contextlib.redirect_stdout(io.StringIO()):
        labels = COCO()
        labels.dataset = dataset.coco_ground_truth()  # type: ignore[attr-defined]
        labels.createIndex()
        scoring = COCOeval(labels, labels.loadRes(str(detections)), "bbox")
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    return {name: float(value) for name, value in zip(SUMMARY, scoring.stats, strict=True) if value != -1}


def test_pycocotools_recomputes_the_scores_from_the_detections(bundle: Bundle, data: str, tmp_path: Path) -> None:
    report = evaluate(bundle, open_dataset(data), detections_path=tmp_path / "found.json")
    expected = recomputed(data, tmp_path / "found.json")
    assert 0.1 < expected["AP"] < 0.9
    assert of_summary(report) == pytest.approx(expected, abs=1e-6)


def test_detections_carry_the_ids_of_the_data(bundle: Bundle, data: str, tmp_path: Path) -> None:
    evaluate(bundle, open_dataset(data), detections_path=tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert {record["image_id"] for record in found} == {7, 9}
    assert found[0]["category_id"] == 30
    assert all(set(record) == {"image_id", "category_id", "bbox", "score"} for record in found)


def test_the_report_says_what_was_measured_and_how(bundle: Bundle, data: str) -> None:
    dataset = open_dataset(data)
    report = evaluate(bundle, dataset, threads=1)
    assert (report.bundle.digest, report.bundle.precision) == (bundle.digest, "fp32")
    assert report.data is not None
    assert (report.data.digest, report.data.images, report.data.uri) == (dataset.digest, 2, data)
    settings = report.settings["evaluate"]
    assert (settings["conf_threshold"], settings["max_detections"], settings["threads"]) == (0.001, 100, 1)
    assert settings["iou_threshold"] == bundle.spec.postprocess.iou_threshold
    assert report.device["arch"]
    assert "faster-coco-eval" in report.software
    assert values(report)["AP/nut"] == 0.0
    assert "1 of 3 classes have no objects and do not count: washer" in report.notes


def test_a_higher_threshold_or_limit_changes_what_is_scored(bundle: Bundle, data: str, tmp_path: Path) -> None:
    settings = evaluation_settings(bundle.spec.postprocess, conf=0.5, max_detections=2)
    report = evaluate(bundle, open_dataset(data), postprocess=settings, detections_path=tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found) == 4
    assert min(record["score"] for record in found) >= 0.5
    assert {"AR1", "AR2"} <= set(values(report))


def test_accuracy_is_measured_with_cocos_limits_and_the_bundles_nms() -> None:
    settings = evaluation_settings(PostprocessSpec(iou_threshold=0.7, class_agnostic=True, multi_label=False))
    assert (settings.conf_threshold, settings.max_detections) == (0.001, 100)
    assert (settings.iou_threshold, settings.class_agnostic, settings.multi_label) == (0.7, True, False)
    with pytest.raises(UsageError, match="conf_threshold"):
        evaluation_settings(PostprocessSpec(), conf=1.5)


def no_predictor(*_: Any, **__: Any) -> None:
    raise AssertionError("nothing may run before everything is checked")


def test_what_does_not_fit_is_refused_before_anything_runs(
    bundle: Bundle, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "open_predictor", no_predictor)
    with pytest.raises(UsageError, match="is a detect network, which takes no prompts"):
        evaluate(bundle, open_dataset(data), prompts="box")
    with pytest.raises(UsageError, match="there is no file nowhere"):
        evaluate(bundle, open_dataset(data), slices=["nowhere"])
    with pytest.raises(UsageError, match="has no boxes to compare with"):
        evaluate(bundle, open_dataset(str(tmp_path / "images")))
    with pytest.raises(DataError, match="categories of synthetic:1:1 have no label"):
        evaluate(bundle, open_dataset("synthetic:1:1"))
    with pytest.raises(UsageError, match="cannot write"):
        evaluate(bundle, open_dataset(data), detections_path=tmp_path / "labels.json" / "found.json")


def test_a_missing_evaluator_is_named_before_anything_runs(
    bundle: Bundle, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "open_predictor", no_predictor)
    monkeypatch.delitem(sys.modules, "edgewright.pipeline.metrics.coco", raising=False)
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgewright\[evaluate\]'"):
        evaluate(bundle, open_dataset(data))


def test_a_damaged_image_leaves_no_detections_behind(bundle: Bundle, data: str, tmp_path: Path) -> None:
    (tmp_path / "images" / "9.png").write_bytes(b"\x89PNG damaged")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SourceError, match=r"9\.png"):
        evaluate(bundle, open_dataset(data), detections_path=tmp_path / "found.json")
    assert sorted(tmp_path.iterdir()) == before


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", *words])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_the_verb_prints_a_plain_table_and_writes_the_report(
    bundle: Bundle, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(str(bundle.path), "--data", data, "--json", str(tmp_path / "report.json")) == 0
    out, err = capsys.readouterr()
    report = load_report(tmp_path / "report.json")
    rows = {words[0]: words[1:] for line in out.splitlines() if (words := line.split())}
    got = values(report)
    assert rows["AP"] == [f"{got['AP']:.4f}"]
    assert rows["class"] == ["AP", "F1", "precision", "recall"]
    assert rows["bolt"] == [f"{got[f'{metric}/bolt']:.4f}" for metric in rows["class"]]
    assert "\x1b" not in out
    assert err == ""


def test_the_verb_takes_only_the_first_images(bundle: Bundle, data: str, tmp_path: Path) -> None:
    assert call(str(bundle.path), "--data", data, "--limit", "1", "--json", str(tmp_path / "report.json")) == 0
    report = load_report(tmp_path / "report.json")
    assert report.data is not None
    assert report.data.images == 1
    assert report.data.digest == open_dataset(data).first(1).digest


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--conf", "1.5"], "'--conf': 1.5 is not in the range"),
        (["--max-det", "0"], "'--max-det': 0 is not in the range"),
        (["--data", "cooco:a:b"], "did you mean 'coco'?"),
        (["--backend", "orrt"], "did you mean 'ort'?"),
        (["--precision", "int8"], "holds no int8 model"),
        (["--nms", "sofd"], "no NMS variant 'sofd' (did you mean 'soft'?)"),
        (["--tiles", "64,64"], "--tiles wants height x width"),
        (["--data", "coco:a:b"], "there is no such image folder"),
    ],
)
def test_misuse_of_the_verb_exits_2_with_one_sentence(
    bundle: Bundle, data: str, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(str(bundle.path), "--data", data, *words) == 2
    out, err = capsys.readouterr()
    assert sentence in err
    assert (out, err.count("\n")) == ("", 1)


@pytest.fixture(scope="module")
def real(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    from edgewright.export.from_onnx import import_onnx
    from edgewright.export.request import ExportRequest

    request = ExportRequest(source=str(assets / "models" / "yolox_nano.onnx"), family="yolox", labels="coco80")
    return import_onnx(request, tmp_path_factory.mktemp("real") / "bundle")


@pytest.fixture(scope="module")
def real_data(assets: Path) -> str:
    folder = assets / "data" / "coco_tiny"
    return f"coco:{folder / 'val2017'}:{folder / 'annotations' / 'instances_val2017.json'}"


def test_the_real_network_reaches_its_published_accuracy(real: Bundle, real_data: str, tmp_path: Path) -> None:
    """AP 0.308 to 0.310: an independent script with plain NMS and pycocotools on the same 80 images."""
    found = tmp_path / "found.json"
    settings = evaluation_settings(real.spec.postprocess, iou=0.65)
    report = evaluate(real, open_dataset(real_data), postprocess=settings, detections_path=found)
    assert 0.308 - 0.003 < values(report)["AP"] < 0.310 + 0.003
    assert of_summary(report) == pytest.approx(recomputed(real_data, found), abs=1e-6)


def test_openvino_scores_as_onnx_runtime_does(real: Bundle, real_data: str) -> None:
    some = open_dataset(real_data).first(16)
    ort, ov = (values(evaluate(real, some, backend=backend))["AP"] for backend in ("ort", "ov"))
    assert ov == pytest.approx(ort, abs=0.0005)
