"""The whole chain on a real COCO-trained detector and real labelled images, as a user types it."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from edgewright.pipeline.cli import main

# The reference figure of the network's own pre-processing on these 80 images, by an independent script: 0.308 to 0.310.
REFERENCE_AP = 0.309


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def reports(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles and accuracy reports of the network as it was trained, and fed with red and blue exchanged."""
    folder = tmp_path_factory.mktemp("chain")
    coco = assets / "data/coco_tiny"
    for name, color in (("right", "bgr"), ("swapped", "rgb")):
        source = assets / "models/yolox_nano.onnx"
        words = ("--family", "yolox", "--labels", "coco80", "--color", color)
        assert run("export", source, *words, "-o", folder / name) == 0
        for backend in ("ov", "ort") if name == "right" else ("ov",):
            stem = folder / f"{name}-{backend}"
            data = f"coco:{coco}/val2017:{coco}/annotations/instances_val2017.json"
            options = ("--data", data, "--iou", "0.65", "--backend", backend, "--detections", f"{stem}.detections.json")
            assert run("evaluate", folder / name, *options, "--json", f"{stem}.json") == 0
    return folder


def ap(report: Path) -> float:
    measurements = json.loads(report.read_text())["measurements"]
    return float(next(m["value"] for m in measurements if m["name"] == "AP"))


def test_the_accuracy_is_the_networks_published_one_on_both_engines(reports: Path) -> None:
    assert ap(reports / "right-ort.json") == pytest.approx(REFERENCE_AP, abs=0.003)
    assert ap(reports / "right-ov.json") == pytest.approx(ap(reports / "right-ort.json"), abs=0.0005)


def test_pycocotools_gets_the_same_number_from_the_detections_file(reports: Path, assets: Path) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):
        truth = COCO(str(assets / "data/coco_tiny/annotations/instances_val2017.json"))
        truth.dataset.setdefault("info", {})
        score = COCOeval(truth, truth.loadRes(str(reports / "right-ov.detections.json")), "bbox")
        score.evaluate()
        score.accumulate()
        score.summarize()
    assert score.stats[0] == pytest.approx(ap(reports / "right-ov.json"), abs=1e-6)


def test_a_bundle_passes_the_gate_against_itself(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = reports / "right-ov.json"
    assert run("gate", report, "--baseline", report, "--policy", "accuracy") == 0
    assert capsys.readouterr().out.startswith("PASSED")


def test_exchanged_colour_channels_fail_the_gate_and_ap_is_named(
    reports: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--baseline", reports / "right-ov.json", "--policy", "accuracy")
    assert run("gate", reports / "swapped-ov.json", *words) == 1
    assert capsys.readouterr().out.startswith("FAILED: AP 0.2")


def test_reports_of_other_settings_are_not_compared(
    reports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((reports / "right-ov.json").read_text())
    for section, key, value in (
        ("settings", "iou_threshold", 0.5),
        ("data", "digest", "0" * 64),
        ("device", "cpu_model", "another"),
    ):
        changed = json.loads(json.dumps(content))
        (changed["settings"]["evaluate"] if section == "settings" else changed[section])[key] = value
        (tmp_path / "changed.json").write_text(json.dumps(changed))
        policy = tmp_path / "policy.yaml"
        policy.write_text("allowed_drop: {AP: 0.005}\n")
        assert run("gate", tmp_path / "changed.json", "--baseline", reports / "right-ov.json", "--policy", policy) == 2
        assert key in capsys.readouterr().err


def test_a_real_video_runs_into_every_sink(reports: Path, assets: Path, tmp_path: Path) -> None:
    sinks = (f"jsonl:{tmp_path}/run.jsonl", f"images:{tmp_path}/pictures", f"video:{tmp_path}/run.mp4")
    words = [word for sink in sinks for word in ("--sink", sink)]
    source = assets / "videos/one-by-one-person-detection.mp4"
    assert run("run", reports / "right", "--source", source, "--backend", "ov", "--max-frames", 12, *words) == 0
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(12))
    assert {"frame", "time_s", "age_ms", "detections", "latency_ms"} <= set(lines[0])
    assert len(list((tmp_path / "pictures").iterdir())) == 12
    assert (tmp_path / "run.mp4").stat().st_size > 10_000


def test_a_folder_of_real_photographs_runs_and_finds_people(reports: Path, assets: Path, tmp_path: Path) -> None:
    folder, log = assets / "data/coco_tiny/val2017", tmp_path / "run.jsonl"
    assert run("run", reports / "right", "--source", folder, "--backend", "ov", "--sink", f"jsonl:{log}") == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == 80
    found = [one for line in lines for one in line["detections"]]
    assert sum(one["label"] == "person" for one in found) > 30
    assert all(0.25 <= one["score"] <= 1 for one in found)
