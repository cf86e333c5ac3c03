"""Slices of a data set: which images they hold, and that they are measured as those images alone."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.tiny import blob_image, tiny_bundle

from edgewright.pipeline.cli import main
from edgewright.pipeline.datasets import BoxDataset, open_dataset
from edgewright.pipeline.datasets.coco import CocoDataset
from edgewright.pipeline.evaluate import evaluate
from edgewright.pipeline.gate import gate
from edgewright.pipeline.per_image import load_per_image
from edgewright.pipeline.policy import Policy
from edgewright.pipeline.report.schema import load_report
from edgewright.pipeline.slices import read_slices
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import DataError, UsageError

IMAGES = 24


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Pictures 1 to 24, each lighter than the one before, with a blob that is boxed well in every other one."""
    annotations = []
    for number in range(1, IMAGES + 1):
        left = 16 + 32 * (number % 2)
        picture = blob_image(box_xyxy=(left, 24, left + 40, 64))
        picture[..., 1] = np.minimum(picture[..., 1].astype(int) + 4 * number, 255)
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
        box = [40, 30, 28, 25] if left > 16 else [11, 27, 26, 26]
        annotations.append({"id": number, "image_id": number, "category_id": 30, "bbox": box})
    content = {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(1, IMAGES + 1)],
        "categories": [{"id": 10, "name": "nut"}, {"id": 20, "name": "washer"}, {"id": 30, "name": "bolt"}],
        "annotations": annotations,
    }
    (tmp_path / "labels.json").write_text(json.dumps(content))
    return f"coco:{tmp_path}:{tmp_path / 'labels.json'}"


def opened(uri: str) -> CocoDataset:
    dataset = open_dataset(uri)
    assert isinstance(dataset, BoxDataset)
    assert isinstance(dataset, CocoDataset)
    return dataset


def test_the_darkest_and_the_brightest_quarter_are_slices(data: str) -> None:
    slices = read_slices(["brightness"], opened(data))
    assert {name: ids.tolist() for name, ids in slices.items()} == {
        "dark": [1, 2, 3, 4, 5, 6],
        "bright": [19, 20, 21, 22, 23, 24],
    }


def test_a_file_lists_images_by_name_or_number(data: str, tmp_path: Path) -> None:
    (tmp_path / "slices.yaml").write_text("night: [3.png, '4', 5]\nrain: [24]\n")
    slices = read_slices([str(tmp_path / "slices.yaml")], opened(data))
    assert {name: ids.tolist() for name, ids in slices.items()} == {"night": [3, 4, 5], "rain": [24]}


def test_an_empty_slice_and_a_word_that_means_two_images_are_refused(data: str, tmp_path: Path) -> None:
    slices = tmp_path / "slices.yaml"
    slices.write_text("night: []\n")
    with pytest.raises(UsageError, match="slice 'night' lists no image"):
        read_slices([str(slices)], opened(data))
    labels = tmp_path / "labels.json"
    content = json.loads(labels.read_text())
    # Image 24 becomes image 30, in the file 3.png of a folder.
    (tmp_path / "more").mkdir()
    (tmp_path / "24.png").rename(tmp_path / "more" / "3.png")
    content["images"][-1] = {"id": 30, "file_name": "more/3.png"}
    content["annotations"][-1]["image_id"] = 30
    labels.write_text(json.dumps(content))
    slices.write_text("night: [3]\n")
    with pytest.raises(UsageError, match=r"lists 3, which may be any of the images \[3, 30\]"):
        read_slices([str(slices)], opened(data))


def test_a_slice_is_measured_as_its_images_alone(bundle: Bundle, data: str) -> None:
    whole = opened(data)
    report = evaluate(bundle, whole, slices=["brightness"])
    alone = evaluate(bundle, whole.first(6))
    expected = {m.name: m.value for m in alone.measurements if "/" not in m.name}
    got = {m.name.removesuffix("@dark"): m.value for m in report.measurements if m.name.endswith("@dark")}
    assert 0.1 < expected["AP"] < 0.9
    assert got == pytest.approx(expected)


def test_the_gate_judges_a_slice_by_its_interval(bundle: Bundle, data: str, tmp_path: Path) -> None:
    (tmp_path / "slices.yaml").write_text(f"most: {list(range(1, 13))}\nfew: [1, 2]\n")
    path = tmp_path / "report.json"
    assert call(str(bundle.path), "--data", data, "--slices", str(tmp_path / "slices.yaml"), "--json", str(path)) == 0
    report = load_report(path)
    assert report.per_image is not None
    kept = load_per_image(path, report.per_image)
    policy = Policy(allowed_drop={"AP": 0.01, "AP@most": 0.01, "AP@few": 0.01}, resamples=100)
    verdict = gate(report, report, policy, per_image=(kept, kept))
    assert {finding.metric: finding.interval for finding in verdict.findings} == {
        "AP": (0.0, 0.0),
        "AP@most": (0.0, 0.0),
        "AP@few": None,
    }
    assert any(note.endswith("fewer than 10 images hold such objects: AP@few") for note in verdict.notes)


def test_slices_of_one_name_that_hold_different_images_are_not_compared(
    bundle: Bundle, data: str, tmp_path: Path
) -> None:
    sides = []
    for name, first in (("a", 1), ("b", 2)):
        (tmp_path / "slices.yaml").write_text(f"some: {list(range(first, first + 12))}\n")
        report = evaluate(
            bundle, opened(data), slices=[str(tmp_path / "slices.yaml")], per_image_path=tmp_path / f"{name}.npz"
        )
        assert report.per_image is not None
        sides.append((report, load_per_image(tmp_path / f"{name}.json", report.per_image)))
    policy = Policy(allowed_drop={"AP@some": 0.01}, resamples=100)
    with pytest.raises(DataError, match="or of their slices, are of different images"):
        gate(sides[0][0], sides[1][0], policy, per_image=(sides[0][1], sides[1][1]))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("night: [99]\n", r"slice 'night' lists 99 \(1 of 1 are unknown\), which is no image of coco:"),
        ("a@b: [1]\n", "a slice is called 'a@b', wanted letters, digits"),
        ("night: 3\n", "'night' wants a valid list"),
        ("dark: [3]\n", "there is a slice 'dark' already"),
    ],
)
def test_a_bad_list_is_named(data: str, tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "slices.yaml").write_text(text)
    with pytest.raises(UsageError, match=sentence):
        read_slices(["brightness", str(tmp_path / "slices.yaml")], opened(data))


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", *words])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_the_verb_shows_slices_side_by_side(bundle: Bundle, data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(str(bundle.path), "--data", data, "--slices", "brightness") == 0
    rows = {words[0]: words[1:] for line in capsys.readouterr().out.splitlines() if (words := line.split())}
    assert len(rows["AP"]) == 3
    assert rows["blob"][-3:] == ["value", "@dark", "@bright"]
