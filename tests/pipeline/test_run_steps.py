"""`edgewright run --track` and `--blur` as a user calls them, on a tiny network and on a real one with a real film."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.tiny import blob_image, tiny_bundle

from edgewright.pipeline.cli import main
from edgewright.runtime.results import Image
from edgewright.runtime.sources import open_source

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module", name="folder")
def folder_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that finds blue things, and a film of pictures in which one moves."""
    folder = tmp_path_factory.mktemp("steps")
    tiny_bundle(folder)
    (folder / "film").mkdir()
    for number in range(8):
        picture = blob_image((96, 160), (16 + 2 * number, 24, 56 + 2 * number, 64))
        noise = np.random.default_rng(number).integers(0, 30, picture.shape).astype(np.uint8)
        cv2.imwrite(str(folder / "film" / f"{number}.png"), cv2.add(picture, noise))
    return folder


@pytest.fixture(name="run")
def run_fixture(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(folder)

    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["run", *map(str, words)])
        out, err = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, out, err

    return call


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def spread(image: Image, box: list[float]) -> float:
    """How many different colours the inside of a box has, of 1 for each of its pixels."""
    x1, y1, x2, y2 = (round(edge) for edge in box)
    inside = image[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4].reshape(-1, 3)
    return len(np.unique(inside, axis=0)) / len(inside)


@pytest.mark.parametrize("loop", ["overlapped", "sequential"])
def test_objects_are_blurred_in_every_sink_and_in_no_file_of_the_source(
    run: Run, folder: Path, tmp_path: Path, loop: str
) -> None:
    before = [cv2.imread(str(path)) for path in sorted((folder / "film").iterdir())]
    sinks = (
        f"jsonl:{tmp_path}/run.jsonl",
        f"record:{tmp_path}/recording?format=png",
        f"images:{tmp_path}/out?format=png",
    )
    words = [word for sink in sinks for word in ("--sink", sink)]
    status, out, _ = run("bundle", "--source", "film", "--loop", loop, "--blur", "bolt?pad=0.2", *words)
    assert status == 0
    assert "\nblur " in out
    lines = lines_of(tmp_path / "run.jsonl")
    assert all("blur" in line["latency_ms"] for line in lines)
    kept = list(open_source(f"replay:{tmp_path}/recording"))
    assert len(kept) == len(lines) == 8
    for line, frame, plain in zip(lines, kept, before, strict=True):
        best = max(line["detections"], key=lambda thing: thing["score"])["box"]
        assert spread(np.asarray(plain, np.uint8), best) > 0.2
        assert spread(frame.image, best) < 0.1
        drawn = cv2.imread(str(tmp_path / "out" / f"{line['frame']}_{line['frame']:06d}.png"))
        assert spread(np.asarray(drawn, np.uint8), best) < 0.1
    after = [cv2.imread(str(path)) for path in sorted((folder / "film").iterdir())]
    assert all((a == b).all() for a, b in zip(before, after, strict=True) if a is not None and b is not None)


def test_what_is_too_unsure_to_be_reported_is_blurred_and_still_not_reported(run: Run, tmp_path: Path) -> None:
    lines, pictures = {}, {}
    for name, blur in (("plain", ""), ("sure", "all"), ("unsure", "all?conf=0.05")):
        sinks = ("--sink", f"jsonl:{tmp_path}/{name}.jsonl", "--sink", f"record:{tmp_path}/{name}?format=png")
        words = ("--blur", blur) if blur else ()
        status, _, _ = run(
            "bundle", "--source", "film", "--conf", 0.95, *words, *sinks, "--json", tmp_path / "run.json"
        )
        assert status == 0
        lines[name] = [line["detections"] for line in lines_of(tmp_path / f"{name}.jsonl")]
        pictures[name] = [frame.image for frame in open_source(f"replay:{tmp_path}/{name}")]
    assert lines["plain"] == lines["sure"] == lines["unsure"]
    covered = {
        name: sum(int((a != b).any(axis=2).sum()) for a, b in zip(pictures["plain"], pictures[name], strict=True))
        for name in ("sure", "unsure")
    }
    assert covered["unsure"] > covered["sure"]
    settings = json.loads((tmp_path / "run.json").read_text())["settings"]
    assert (settings["conf_threshold"], settings["blur"]) == (0.95, "all?conf=0.05")


def test_tracks_are_in_the_lines_and_keep_their_number(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("trackers")
    sink = f"jsonl:{tmp_path}/run.jsonl"
    status, out, _ = run("bundle", "--source", "film", "--track", "sort?frames=1&iou=0.1", "--sink", sink)
    assert status == 0
    assert "\ntrack " in out
    numbers = [{thing["track_id"] for thing in line["detections"]} for line in lines_of(tmp_path / "run.jsonl")]
    # The tiny network finds the blob several times; one of these is there all the time.
    assert set.intersection(*numbers[1:]) - {None}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--blur", "bolz"), "--blur: the network has no class 'bolz' (did you mean 'bolt'?)"),
        (("--track", "botsrt"), "there is no tracker 'botsrt' (did you mean 'botsort'?)"),
    ],
)
def test_bad_words_are_one_sentence_and_write_nothing(
    run: Run, words: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    status, out, err = run("bundle", "--source", "film", *words, "--sink", f"images:{tmp_path}/out")
    assert (status, out) == (2, "")
    assert sentence in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_a_person_who_walks_through_a_real_film_has_one_number_and_no_face(
    run: Run, assets: Path, tmp_path: Path
) -> None:
    pytest.importorskip("trackers")
    film = cv2.VideoCapture(str(assets / "videos/one-by-one-person-detection.mp4"))
    film.set(cv2.CAP_PROP_POS_FRAMES, 300)
    (tmp_path / "walk").mkdir()
    for number in range(24):
        read, picture = film.read()
        assert read
        cv2.imwrite(str(tmp_path / "walk" / f"{number}.png"), picture)
    bundle = tmp_path / "bundle"
    with pytest.raises(SystemExit):
        main(
            [
                "export",
                str(assets / "models/yolox_nano.onnx"),
                "-o",
                str(bundle),
                "--family",
                "yolox",
                "--labels",
                "coco80",
            ]
        )
    run(
        bundle, "--source", tmp_path / "walk", "--track", "bytetrack", "--blur", "person?conf=0.1",
        "--sink", f"jsonl:{tmp_path}/run.jsonl", "--sink", f"record:{tmp_path}/recording?format=png",
    )  # fmt: skip
    persons = [
        [thing for thing in line["detections"] if thing["label"] == "person"]
        for line in lines_of(tmp_path / "run.jsonl")
    ]
    assert sum(len(found) == 1 for found in persons) >= 22
    assert {thing["track_id"] for found in persons[1:] for thing in found} == {1}
    for found, frame in zip(persons, open_source(f"replay:{tmp_path}/recording"), strict=True):
        if found:
            assert spread(frame.image, found[0]["box"]) < 0.02
