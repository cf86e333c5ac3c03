"""`edgewright batch`, and the verbs that take --batch, as a user calls them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
from tests.runtime.test_batches import picture
from tests.tiny import tiny_bundle

from edgewright.pipeline.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module", name="folder")
def folder_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, the same with an open batch, and two folders of pictures that are not alike."""
    folder = tmp_path_factory.mktemp("batch")
    tiny_bundle(folder)
    with pytest.raises(SystemExit) as caught:
        main(["batch", str(folder / "bundle"), "-o", str(folder / "opened")])
    assert caught.value.code == 0
    for name, count in (("left", 7), ("right", 4)):
        (folder / name).mkdir()
        for number in range(count):
            cv2.imwrite(str(folder / name / f"{number}.png"), picture(number + len(name)))
    return folder


@pytest.fixture(name="run")
def run_fixture(folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(folder)

    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(list(words))
        out, err = capfd.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, out, err

    return call


def lines_of(path: Path) -> dict[tuple[str, int], list[dict[str, Any]]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {(line["source"], line["frame"]): line["detections"] for line in lines}


def test_two_sources_in_one_run_find_in_batches_what_they_find_alone(run: Run, tmp_path: Path) -> None:
    sources = ("--source", "a=left", "--source", "b=right", "--threads", "1", "--backend", "ov")
    found = []
    for bundle, words in (("bundle", ()), ("opened", ("--batch", "4"))):
        files = ("--sink", f"jsonl:{tmp_path}/{bundle}.jsonl", "--json", f"{tmp_path}/{bundle}.json")
        status, out, _ = run("run", bundle, *sources, *files, *words)
        assert status == 0
        found.append(lines_of(tmp_path / f"{bundle}.jsonl"))
    assert "3.67 frames an inference" in out
    report = json.loads((tmp_path / "opened.json").read_text())
    assert (report["frames"], report["inferences"], report["settings"]["batch"]) == (11, 3, 4)
    assert {row["name"]: row["frames"] for row in report["sources"]} == {"a": 7, "b": 4}
    assert json.loads((tmp_path / "bundle.json").read_text())["inferences"] == 11
    alone, together = found
    assert alone.keys() == together.keys()
    for key, wanted in alone.items():
        assert len(together[key]) == len(wanted) > 0
        for one, other in zip(wanted, together[key], strict=True):
            assert one["box"] == pytest.approx(other["box"], abs=0.02)
            assert one["score"] == pytest.approx(other["score"], abs=1e-3)
            assert one["label"] == other["label"]


def test_one_file_fills_a_batch_by_itself_and_its_last_one_is_cut(run: Run, tmp_path: Path) -> None:
    words = ("--source", "left", "--batch", "2", "--max-frames", "5", "--sink", f"jsonl:{tmp_path}/run.jsonl")
    status, out, _ = run("run", "opened", *words)
    assert status == 0
    assert "1.67 frames an inference" in out
    frames = [json.loads(line)["frame"] for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert frames == list(range(5))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "bundle", "--source", "left", "--batch", "2"), "takes one image at a time, not a batch of 2"),
        (
            ("run", "opened", "--source", "left", "--batch", "2", "--loop", "sequential"),
            "leave --batch out, or run it over",
        ),
        (("run", "opened", "--source", "left", "--batch", "2", "--tiles", "64x64"), "one by one; leave --batch out"),
        (("run", "opened", "--source", "left", "--batch", "2", "--frames", "newest"), "there are not 2 but 1"),
        (("benchmark", "bundle", "--batch", "4"), "`edgewright batch BUNDLE -o BUNDLE2` opens the batch"),
        (
            ("benchmark", "opened", "--batch", "4", "--scenario", "offline"),
            "run one image at a time; leave --batch out",
        ),
        (("batch", "opened", "-o", "again"), "has an open batch already"),
        (("batch", "bundle", "-o", "opened"), "--force"),
        (("compile", "bundle", "--target", "jetpack6.2", "--batch", "4"), "has a fixed batch of 1"),
        (("quantize", "opened", "--target", "openvino", "--data", "left", "-o", "int8"), "quantize the bundle before"),
    ],
)
def test_misuse_is_one_sentence_and_exit_2(run: Run, words: tuple[str, ...], said: str) -> None:
    status, _, err = run(*words)
    assert status == 2
    assert said in err
    assert "Traceback" not in err


def test_a_benchmark_says_the_batch_and_the_time_of_an_image(run: Run, tmp_path: Path) -> None:
    words = (
        "--seconds",
        "0",
        "--iterations",
        "4",
        "--warmup",
        "1",
        "--threads",
        "1",
        "--json",
        f"{tmp_path}/speed.json",
    )
    status, out, _ = run("benchmark", "opened", "--batch", "4", *words)
    assert status == 0
    assert "1 thread, batch 4" in out
    report = json.loads((tmp_path / "speed.json").read_text())
    assert report["settings"]["benchmark"]["batch"] == 4
    values = {entry["name"]: entry["value"] for entry in report["measurements"]}
    assert values["image"] == pytest.approx(values["latency.end_to_end.mean"] / 4)
    assert values["throughput"] == pytest.approx(1000 / values["image"])


def test_an_opened_bundle_is_verified_shown_and_compiled_as_any_other(run: Run) -> None:
    assert run("verify", "opened", "--backend", "ov")[0] == 0
    status, out, _ = run("inspect", "opened")
    assert status == 0
    assert "['batch', 3, 64, 64]" in out
    assert out.count("\nbatch ") == 2
    for words, size in (((), 1), (("--batch", "4"), 4)):
        status, out, _ = run("compile", "opened", "--target", "jetpack6.2", "--print-trtexec", *words)
        assert status == 0
        for shapes in ("minShapes", "optShapes", "maxShapes"):
            assert f"--{shapes}=images:{size}x3x64x64" in out
        assert f"-b{size}-" in out


def test_the_network_that_ships_scores_the_same_with_an_open_batch(run: Run, checkout: Path, tmp_path: Path) -> None:
    """Alone, and two belts of which every frame of a batch finds what it finds alone."""
    source = str(checkout / "configs/reference/conveyor_yolox.onnx")
    names = {name: str(tmp_path / name) for name in ("plain", "opened")}
    assert run("export", source, "--family", "yolox", "--labels", "conveyor", "-o", names["plain"])[0] == 0
    assert run("batch", names["plain"], "-o", names["opened"])[0] == 0
    found, scored = [], []
    for name, words in (("plain", ()), ("opened", ("--batch", "2"))):
        sources = (
            "--source",
            "a=synthetic:1:5",
            "--source",
            "b=synthetic:2:5",
            "--sink",
            f"jsonl:{tmp_path}/{name}.jsonl",
        )
        assert run("run", names[name], *sources, *words)[0] == 0
        found.append(lines_of(tmp_path / f"{name}.jsonl"))
        assert run("evaluate", names[name], "--data", "synthetic:7:3", "--json", f"{tmp_path}/{name}.json")[0] == 0
        report = json.loads((tmp_path / f"{name}.json").read_text())
        scored.append({entry["name"]: entry["value"] for entry in report["measurements"]})
    assert scored[0] == scored[1]
    assert scored[0]["AP"] > 0.3
    assert found[0] == found[1]
