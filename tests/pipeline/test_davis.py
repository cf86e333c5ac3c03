"""Videos in DAVIS' layout: reading them, and J&F of a promptable network by the definitions, with masks asked for by hand."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from tests.pipeline.test_datasets_masks import palette_png
from tests.pipeline.test_metrics_video import by_distance, db_statistics
from tests.tiny import tiny_bundle
from tests.tiny_prompted import bright_in_box_bundle

from edgewright.pipeline.cli import main
from edgewright.pipeline.datasets import VideoDataset, open_dataset
from edgewright.pipeline.gate import gate
from edgewright.pipeline.per_image import read_side
from edgewright.pipeline.policy import Policy
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import DataError, UsageError
from edgewright.runtime.prompter import open_prompter
from edgewright.runtime.sources.images import read_image

SIZE_HW = (96, 128)
# Of every object, the left edge in every frame; None where it is out of sight. The first lies over the second at times.
FILMS: Mapping[str, Mapping[int, tuple[int | None, ...]]] = {
    "belt": {1: (8, 16, 24, 36, 40, 44), 2: (40, 40, 40, 40, 40, 40)},
    "desk": {3: (10, None, 30, 34, 60)},
}
PALETTE = bytes(range(96))


@pytest.fixture(scope="module", name="bundle")
def bundle_fixture(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bright_in_box_bundle(tmp_path_factory.mktemp("prompted") / "bundle")


def object_map(film: Mapping[int, tuple[int | None, ...]], frame: int) -> npt.NDArray[np.uint8]:
    numbers = np.zeros(SIZE_HW, np.uint8)
    for number, lefts in film.items():
        left = lefts[frame]
        if left is not None:
            numbers[20 + 8 * number : 60 + 8 * number, left : left + 30] = number
    return numbers


def write_davis(root: Path, films: Mapping[str, Mapping[int, tuple[int | None, ...]]] = FILMS) -> Path:
    """Bright objects with a darker band in them, which the tiny network leaves out."""
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text("\n".join(films) + "\n\n")
    for name, film in films.items():
        images, maps = root / "JPEGImages" / "480p" / name, root / "Annotations" / "480p" / name
        images.mkdir(parents=True)
        maps.mkdir(parents=True)
        for frame in range(len(next(iter(film.values())))):
            numbers = object_map(film, frame)
            image = np.where(numbers > 0, 250 - 10 * frame, 20).astype(np.uint8)
            image[52:56] = 20
            cv2.imwrite(str(images / f"{frame:05}.jpg"), cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
            (maps / f"{frame:05}.png").write_bytes(palette_png(numbers, PALETTE))
    return root


@pytest.fixture(scope="module", name="davis")
def davis_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_davis(tmp_path_factory.mktemp("data") / "DAVIS")


def opened(davis: Path) -> VideoDataset:
    dataset = open_dataset(f"davis:{davis}")
    assert isinstance(dataset, VideoDataset)
    return dataset


def test_frames_of_all_videos_are_numbered_on_and_objects_are_the_palette_s_numbers(davis: Path) -> None:
    dataset = opened(davis)
    assert dict(dataset.videos) == {"belt": (1, 2, 3, 4, 5, 6), "desk": (7, 8, 9, 10, 11)}
    samples = list(dataset)
    assert [sample.image_id for sample in samples] == list(range(1, len(dataset) + 1))
    assert samples[6].path == davis / "JPEGImages/480p/desk/00000.jpg"
    np.testing.assert_array_equal(dataset.object_numbers(9), object_map(FILMS["desk"], 2))
    assert dict(dataset.first(8).videos) == {"belt": (1, 2, 3, 4, 5, 6), "desk": (7, 8)}
    assert dataset.first(8).digest != dataset.digest == open_dataset(f"davis:{davis}:val").digest


def answers(bundle: Bundle, davis: Path, name: str, numbers: Any, frame: int) -> Any:
    """The map of the numbers that the network's masks give; the network expects the same quality of all, so the first wins."""
    image = read_image(davis / "JPEGImages/480p" / name / f"{frame:05}.jpg")
    found = np.zeros(SIZE_HW, np.uint8)
    with open_prompter(bundle, threads=1) as prompter:
        prompter.set_image(image)
        for number in sorted(set(numbers.ravel().tolist()) - {0}, reverse=True):
            y, x = np.nonzero(numbers == number)
            (mask,) = prompter.segment(boxes_xyxy=[x.min(), y.min(), x.max() + 1, y.max() + 1]).masks or ()
            found[mask.paste(SIZE_HW)] = number
    return found


def expected(bundle: Bundle, davis: Path) -> dict[str, list[tuple[float, float, float, float, float, float]]]:
    """Of every object of every video its J and F: mean, recall and decay, by the published code's formulas."""
    tables: dict[str, list[tuple[float, float, float, float, float, float]]] = {}
    for name, film in FILMS.items():
        frames = range(1, len(next(iter(film.values()))) - 1)
        truths = [object_map(film, frame) for frame in frames]
        found = [answers(bundle, davis, name, truth, frame) for truth, frame in zip(truths, frames, strict=True)]
        for number in film:
            pairs = [(t == number, f == number) for t, f in zip(truths, found, strict=True)]
            j = [(a & b).sum() / (a | b).sum() if (a | b).any() else 1.0 for a, b in pairs]
            f = [by_distance(a, b, np.ceil(0.008 * np.hypot(*SIZE_HW))) for a, b in pairs]
            tables.setdefault(name, []).append((*db_statistics(j), *db_statistics(f)))
    return tables


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_evaluate_gives_j_and_f_of_every_object_pointed_at_in_every_frame(
    bundle: Bundle, davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.json"
    status, out, _ = run(capsys, "evaluate", bundle.path, "--data", f"davis:{davis}", "--threads", 1, "--json", file)
    assert status == 0
    report = json.loads(file.read_text())
    values = {m["name"]: m["value"] for m in report["measurements"]}
    tables = expected(bundle, davis)
    every = np.mean([row for rows in tables.values() for row in rows], axis=0)
    names = ("J", "J-recall", "J-decay", "F", "F-recall", "F-decay")
    assert [values[name] for name in names] == pytest.approx(every.tolist())
    assert values["J&F"] == pytest.approx((every[0] + every[3]) / 2)
    assert values["J&F/belt"] == pytest.approx(np.mean([(row[0] + row[3]) / 2 for row in tables["belt"]]))
    # The second object is half covered by the first at times, and the dark band is no part of any mask.
    assert 0.5 < values["J&F"] < 0.95
    assert "J&F" in out
    assert "has no memory of videos" in out
    assert report["settings"]["evaluate"]["prompts"] == "box"
    _, per_image = read_side([file])
    assert per_image is not None
    assert per_image.scores(["J&F"]).values(np.array([1, 1])).tolist() == pytest.approx([values["J&F"]])


def test_a_point_in_the_middle_of_every_object_is_another_setting(bundle: Bundle, davis: Path, tmp_path: Path) -> None:
    """The tiny network reads a box and answers a point with nothing: only frames without the object are right."""
    with pytest.raises(SystemExit) as ended:
        words = ["--prompts", "center", "--threads", "1", "--json", str(tmp_path / "report.json")]
        main(["evaluate", str(bundle.path), "--data", f"davis:{davis}", *words])
    assert not ended.value.code
    report = json.loads((tmp_path / "report.json").read_text())
    values = {m["name"]: m["value"] for m in report["measurements"]}
    assert (values["J&F/belt"], values["J&F/desk"]) == (0, pytest.approx(1 / 3))
    assert report["settings"]["evaluate"]["prompts"] == "center"


def test_the_gate_draws_whole_videos(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twelve short videos; a candidate with a stricter quality answers nothing at all."""
    davis = write_davis(tmp_path / "DAVIS", {f"v{n}": {1: (n, n + 4, n + 9)} for n in range(12)})
    for name, least in (("good", "0"), ("bad", "0.99")):
        words = ("--data", f"davis:{davis}", "--threads", 1, "--conf", least, "--json", tmp_path / f"{name}.json")
        assert run(capsys, "evaluate", bundle.path, *words)[0] == 0
    sides = [read_side([tmp_path / f"{name}.json"]) for name in ("bad", "good")]
    rules = Policy.model_validate({"allowed_drop": {"J&F": 0.01}, "compare_across": ["settings"], "resamples": 100})
    verdict = gate(sides[0][0], sides[1][0], rules, per_image=(sides[0][1], sides[1][1]))
    assert not verdict.passed
    assert verdict.findings[0].interval is not None
    assert any("100 resamples of 12 videos" in note for note in verdict.notes)


def damage_split(root: Path) -> None:
    (root / "ImageSets" / "2017" / "val.txt").rename(root / "ImageSets" / "2017" / "train.txt")


def damage_list(root: Path) -> None:
    (root / "ImageSets" / "2017" / "val.txt").write_text("belt\nbelt\n")


def damage_video(root: Path) -> None:
    (root / "JPEGImages" / "480p" / "desk").rename(root / "elsewhere")


def damage_annotation(root: Path) -> None:
    (root / "Annotations" / "480p" / "desk" / "00002.png").unlink()


def damage_size(root: Path) -> None:
    path = root / "Annotations" / "480p" / "belt" / "00001.png"
    path.write_bytes(palette_png(np.zeros((10, 12), np.uint8), PALETTE))


def damage_root(root: Path) -> None:
    (root / "Annotations").rename(root / "Labels")


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (damage_split, r"has no split 'val' \(.*val.txt is missing\); there are: train"),
        (damage_list, "lists 'belt' more than once"),
        (damage_video, r"1 of 2 videos are not in this folder \(desk\)"),
        (damage_annotation, "1 of 5 frames have no annotation .the first is 00002.png."),
        (damage_size, "is 12 wide and 10 high, its frame 128 and 96"),
        (damage_root, "has no folder Annotations; give the folder DAVIS"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_named(
    damage: Callable[[Path], None], complaint: str, tmp_path: Path
) -> None:
    davis = write_davis(tmp_path / "DAVIS")
    damage(davis)
    with pytest.raises(DataError, match=complaint):
        open_dataset(f"davis:{davis}")


def test_evaluate_refuses_what_cannot_be_scored(bundle: Bundle, davis: Path, tmp_path: Path) -> None:
    from edgewright.pipeline.evaluate import evaluate

    dataset = opened(davis)
    with pytest.raises(DataError, match="video desk has 2 of the 3 frames"):
        evaluate(bundle, dataset.first(8), threads=1)
    with pytest.raises(UsageError, match="are videos; leave --slices out"):
        evaluate(bundle, dataset, threads=1, slices=["brightness"])
    with pytest.raises(UsageError, match="has no boxes to compare with"):
        evaluate(tiny_bundle(tmp_path), dataset, threads=1)
    empty = write_davis(tmp_path / "DAVIS", {"belt": {1: (None, None, None)}})
    with pytest.raises(DataError, match="has no labelled object"):
        evaluate(bundle, opened(empty), threads=1)
