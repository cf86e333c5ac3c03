"""`edgewright run` on labelled data and with a reference, and `edgewright reference`, as a user calls them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.pipeline.test_class_maps import strongest_color
from tests.tiny import LABELS, blob_image, tiny_bundle

from edgewright.pipeline.cli import main

pytest.importorskip("faster_coco_eval")
Call = Callable[..., tuple[int, str, str]]
SIZE_HW = (96, 128)


def coco_folder(folder: Path, images: int = 16) -> str:
    """Pictures with one or two blue things each, and labels that are off by a little and now and then missing."""
    random = np.random.default_rng(5)
    (folder / "images").mkdir(parents=True)
    records, labels = [], list[dict[str, Any]]()
    for number in range(1, images + 1):
        x, y = (int(v) for v in random.integers(0, 60, 2))
        side = int(random.integers(20, 36))
        image = blob_image(SIZE_HW, (x, y, x + side, y + side))
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
        records.append({"id": 100 - number, "file_name": f"{number}.png", "height": SIZE_HW[0], "width": SIZE_HW[1]})
        for category_id in (1, 2) if number % 5 == 0 else (1,):
            box = [x + int(random.integers(0, 3)), y, side, side]
            labels.append(
                {"id": len(labels) + 1, "image_id": 100 - number, "category_id": category_id, "bbox": box,
                 "area": side * side, "iscrowd": int(number % 7 == 0)}
            )  # fmt: skip
    categories = [{"id": number, "name": label} for number, label in enumerate(LABELS, start=1)]
    content = {"images": records, "annotations": labels, "categories": categories}
    (folder / "labels.json").write_text(json.dumps(content))
    return f"coco:{folder / 'images'}:{folder / 'labels.json'}"


@pytest.fixture(scope="module", name="folder")
def folder_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live")
    tiny_bundle(folder)
    coco_folder(folder / "data", images=60)
    for name, light in (("calm", 1.0), ("dark", 0.45)):
        (folder / name).mkdir()
        for number in range(240):
            x, y = (number * 7) % 60, (number * 5) % 40
            image = cv2.convertScaleAbs(
                blob_image(SIZE_HW, (x, y, x + 30, y + 30)) + np.uint8(5), alpha=light, beta=60 * light
            )
            cv2.imwrite(str(folder / name / f"{number}.png"), image)
    return folder


@pytest.fixture(name="call")
def call_fixture(folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(folder)

    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([*words])
        out, err = capfd.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, out, err

    return call


def moved_labels(folder: Path, into: Path) -> Path:
    """The labels of the data set with every object in another place."""
    content = json.loads((folder / "data" / "labels.json").read_text())
    for label in content["annotations"]:
        label["bbox"][0] = (label["bbox"][0] + 40) % 90
    (into / "moved.json").write_text(json.dumps(content))
    return into / "moved.json"


DATA = "coco:data/images:data/labels.json"
ENGINE = ("--threads", "1")


def test_all_frames_of_a_labelled_folder_score_as_evaluate_scores_them(call: Call, tmp_path: Path) -> None:
    status, _, _ = call(
        "evaluate", "bundle", "--data", DATA, "--conf", "0.25", "--json", f"{tmp_path}/base.json", *ENGINE
    )
    assert status == 0
    words = (
        "--baseline",
        f"{tmp_path}/base.json",
        "--json",
        f"{tmp_path}/run.json",
        "--sink",
        f"jsonl:{tmp_path}/run.jsonl",
    )
    status, out, err = call("run", "bundle", "--source", f"data:{DATA}", *words, *ENGINE)
    assert (status, err) == (0, "")
    measured = {m["name"]: m["value"] for m in json.loads((tmp_path / "base.json").read_text())["measurements"]}
    report = json.loads((tmp_path / "run.json").read_text())
    since_start = report["live_accuracy"]["since_start"]
    assert 0 < measured["AP"] < 1
    for name in ("AP", "AP50"):
        assert since_start[name]["value"] == pytest.approx(measured[name], abs=1e-6)
    assert since_start["AP"]["baseline"] == measured["AP"]
    assert "Accuracy on 60 labelled frames: AP 0." in out
    assert "watch" in report["stages"]
    assert report["alarms"] == []
    assert len((tmp_path / "run.jsonl").read_text().splitlines()) == 60


def test_class_maps_of_all_frames_score_as_evaluate_scores_them(call: Call, tmp_path: Path) -> None:
    strongest_color(tmp_path)
    random = np.random.default_rng(3)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number in range(24):
        mask = random.integers(0, 3, (8, 8)).astype(np.uint8)
        image = np.array([(0, 0, 200), (0, 200, 0), (200, 0, 0)], np.uint8)[mask]
        mask[: int(random.integers(0, 4))] = 1
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), image)
        cv2.imwrite(str(tmp_path / "masks" / f"{number}.png"), mask)
    bundle, data = f"{tmp_path}/bundle", f"masks:{tmp_path}/images:{tmp_path}/masks"
    status, _, _ = call("evaluate", bundle, "--data", data, "--json", f"{tmp_path}/base.json", *ENGINE)
    assert status == 0
    words = ("--baseline", f"{tmp_path}/base.json", "--json", f"{tmp_path}/run.json", "--fail-on-regression")
    status, out, err = call("run", bundle, "--source", f"data:{data}", *words, *ENGINE)
    assert (status, err) == (0, "")
    assert "Accuracy on 24 labelled frames: mIoU 0." in out
    measured = {m["name"]: m["value"] for m in json.loads((tmp_path / "base.json").read_text())["measurements"]}
    since_start = json.loads((tmp_path / "run.json").read_text())["live_accuracy"]["since_start"]
    assert 0.5 < measured["mIoU"] < 1
    for name in ("mIoU", "pixel-accuracy"):
        assert since_start[name]["value"] == pytest.approx(measured[name], abs=1e-6)
    assert since_start["mIoU"]["change"] == pytest.approx(0, abs=1e-9)


def test_a_network_that_misses_fails_the_run_that_was_told_to(call: Call, folder: Path, tmp_path: Path) -> None:
    """The baseline is that of good pictures; the run sees them with the labels of others."""
    call("evaluate", "bundle", "--data", DATA, "--conf", "0.25", "--json", f"{tmp_path}/base.json", *ENGINE)
    moved = f"data:coco:data/images:{moved_labels(folder, tmp_path)}"
    words = ("run", "bundle", "--source", moved, "--baseline", f"{tmp_path}/base.json", *ENGINE)
    status, out, _ = call(*words, "--fail-on-regression")
    assert status == 1
    assert "that is worse" in out
    status, _, _ = call(*words)
    assert status == 0


def test_what_cannot_be_compared_is_refused_with_the_field(call: Call, tmp_path: Path) -> None:
    call("evaluate", "bundle", "--data", DATA, "--json", f"{tmp_path}/base.json", *ENGINE)
    given = ("--baseline", f"{tmp_path}/base.json")
    status, _, err = call("run", "bundle", "--source", f"data:{DATA}", *given)
    assert status == 2
    assert "conf_threshold was 0.001 for the baseline and is 0.25 in this run" in err
    assert "evaluate with --conf 0.25, or run with --conf 0.001" in err
    status, _, err = call("run", "bundle", "--source", "calm", *given)
    assert status == 2
    assert "calm has no labels" in err
    status, _, err = call("run", "bundle", "--source", "calm", "--fail-on-regression")
    assert status == 2
    assert "nothing to compare with" in err


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("data:calm", "has no boxes to compare with"),
        ("data:coco:nowhere:labels.json", "nowhere"),
        ("data:nothing:3", "there is no kind of data 'nothing'"),
        (f"data:{DATA}?fps=none", "option fps of source data"),
        (f"data:{DATA}?rotate=90", "rotate"),
    ],
)
def test_a_source_that_is_no_labelled_data_is_one_sentence(call: Call, source: str, sentence: str) -> None:
    status, _, err = call("run", "bundle", "--source", source)
    assert status == 2
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_labels_of_a_film_that_the_network_does_not_know_are_noted_and_nothing_else(call: Call, tmp_path: Path) -> None:
    status, out, err = call(
        "run", "bundle", "--source", "synthetic:1:4?size=64x96", "--json", f"{tmp_path}/run.json", *ENGINE
    )
    report = json.loads((tmp_path / "run.json").read_text())
    assert (status, err, report["live_accuracy"]) == (0, "", None)
    assert "Accuracy" not in out
    assert "have no label in" in report["not_watched"][0]


def test_a_bundle_learns_what_is_normal_and_tells_when_it_gets_dark(
    call: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ("reference", "bundle", "--source", "calm", "-o", f"{tmp_path}/known", "--watch-window", "40", *ENGINE)
    status, out, _ = call(*words, "--json", f"{tmp_path}/reference.json")
    assert status == 0
    assert f"{tmp_path}/known knows 240 frames of calm" in out
    assert json.loads((tmp_path / "reference.json").read_text())["reference"]["frames"] == 240
    run = ("run", f"{tmp_path}/known", "--watch-window", "40", *ENGINE, "--fail-on-regression")
    status, out, err = call(*run, "--source", "calm")
    assert (status, err) == (0, "")
    assert "signals are as in the reference" in out
    sinks = ("--sink", f"jsonl:{tmp_path}/run.jsonl", "--json", f"{tmp_path}/run.json")
    status, out, _ = call(*run, "--source", "dark", *sinks)
    assert status == 1
    assert "drift: brightness: median " in caplog.text
    assert "not as in the reference" in out
    report = json.loads((tmp_path / "run.json").read_text())
    assert "brightness" in report["alarms"]
    told = [
        alarm
        for line in (tmp_path / "run.jsonl").read_text().splitlines()
        for alarm in json.loads(line).get("alarms", [])
    ]
    assert told == report["alarm_events"]
    assert {alarm["what"] for alarm in told} >= {"brightness"}


def test_a_reference_with_labels_is_the_baseline_of_later_runs(call: Call, tmp_path: Path) -> None:
    data = coco_folder(tmp_path / "many", images=200)
    out_path = f"{tmp_path}/known"
    status, out, _ = call("reference", "bundle", "--source", f"data:{data}", "-o", out_path, *ENGINE)
    assert status == 0
    assert "Accuracy on them: AP 0." in out
    status, out, _ = call("run", out_path, "--source", f"data:{data}", "--fail-on-regression", *ENGINE)
    assert status == 0
    assert "the bundle's reference says" in out
    assert call("verify", out_path)[0] == 0
    status, out, _ = call(
        "run", out_path, "--source", f"data:{data}", "--conf", "0.5", "--json", f"{tmp_path}/run.json", *ENGINE
    )
    assert status == 0
    report: dict[str, Any] = json.loads((tmp_path / "run.json").read_text())
    assert report["live_accuracy"]["baseline"] is None
    assert "conf_threshold was 0.25 for the baseline and is 0.5" in report["not_watched"][0]


def test_of_several_sources_each_with_labels_is_watched_by_itself(call: Call, folder: Path, tmp_path: Path) -> None:
    """One sees what the baseline was measured on, one the same with the labels of other places, one has no labels."""
    call("evaluate", "bundle", "--data", DATA, "--conf", "0.25", "--json", f"{tmp_path}/base.json", *ENGINE)
    moved = f"data:coco:data/images:{moved_labels(folder, tmp_path)}"
    sources = [word for uri in (f"door=data:{DATA}", f"gate={moved}", "yard=calm") for word in ("--source", uri)]
    words = (
        "run",
        "bundle",
        *sources,
        "--baseline",
        f"{tmp_path}/base.json",
        "--json",
        f"{tmp_path}/run.json",
        *ENGINE,
    )
    assert call(*words)[0] == 0
    status, out, err = call(*words, "--fail-on-regression")
    assert (status, err) == (1, "")
    report = json.loads((tmp_path / "run.json").read_text())
    assert set(report["by_source"]) == {"door", "gate"}
    door, gate = (report["by_source"][name]["live_accuracy"]["since_start"]["AP"] for name in ("door", "gate"))
    base = next(
        m["value"] for m in json.loads((tmp_path / "base.json").read_text())["measurements"] if m["name"] == "AP"
    )
    assert door["value"] == pytest.approx(base, abs=1e-6)
    assert (door["frames"], gate["frames"], gate["outcome"]) == (60, 60, "fail")
    assert gate["value"] < door["value"]
    assert "door: Accuracy on 60 labelled frames: AP 0." in out
    assert next(line for line in out.splitlines() if "; that is worse." in line).startswith("gate: AP: ")
    assert report["not_watched"] == ["accuracy: yard without labels"]
    assert report["live_accuracy"] is None


def test_what_none_of_several_sources_can_be_asked_for_is_refused(call: Call, tmp_path: Path) -> None:
    call("evaluate", "bundle", "--data", DATA, "--conf", "0.25", "--json", f"{tmp_path}/base.json", *ENGINE)
    unlabelled = ("run", "bundle", "--source", "door=calm", "--source", "yard=dark", "--max-frames", "4", *ENGINE)
    status, _, err = call(*unlabelled, "--baseline", f"{tmp_path}/base.json")
    assert status == 2
    assert "--baseline: none of 2 sources (door, yard) has labels and a baseline to compare with" in err
    status, _, err = call(*unlabelled[:4], "--source", f"yard=data:{DATA}", "--fail-on-regression", *ENGINE)
    assert status == 2
    assert "start a run for each source, or leave --fail-on-regression out" in err
    assert call("reference", "bundle", "--source", "calm", "-o", f"{tmp_path}/known", *ENGINE)[0] == 0
    status, out, _ = call("run", f"{tmp_path}/known", *unlabelled[2:], "--json", f"{tmp_path}/run.json")
    assert (status, "Accuracy" in out, "Drift" in out) == (0, False, False)
    assert json.loads((tmp_path / "run.json").read_text())["not_watched"] == [
        "drift: the bundle's reference is that of one camera, and this run has several sources"
    ]


def test_learning_shows_how_far_it_is_on_a_terminal_and_nothing_elsewhere(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("reference", "bundle", "--source", "calm", "-o", f"{tmp_path}/known", "--force", *ENGINE)
    assert call(*words)[2] == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    status, _, err = call(*words)
    assert status == 0
    assert "240/240" in err


def test_a_short_or_endless_reference_leaves_nothing_behind(call: Call, tmp_path: Path) -> None:
    status, _, err = call("reference", "bundle", "--source", "data/images", "-o", f"{tmp_path}/known", *ENGINE)
    assert status == 2
    assert "60 frames are no reference" in err
    assert list(tmp_path.iterdir()) == []
    status, _, err = call("reference", "bundle", "--source", "calm", "-o", "bundle", *ENGINE)
    assert status == 2
    assert "exists already" in err
