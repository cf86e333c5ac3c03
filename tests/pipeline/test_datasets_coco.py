"""What a COCO data set gives, and the sentence for every way in which one can be wrong."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.pipeline.coco_files import coco_content, write_coco

from edgewright.pipeline.datasets import BoxDataset, Category, open_dataset
from edgewright.runtime.errors import DataError, SourceError, UsageError

Content = dict[str, Any]


def opened(uri: str) -> BoxDataset:
    dataset = open_dataset(uri)
    assert isinstance(dataset, BoxDataset)
    return dataset


def test_images_come_in_the_order_of_the_file_with_their_ids(tmp_path: Path) -> None:
    dataset = opened(write_coco(tmp_path))
    assert [(sample.image_id, sample.path) for sample in dataset] == [
        (7, tmp_path / "images" / "007.png"),
        (9, tmp_path / "images" / "009.png"),
    ]
    assert [sample.image().shape for sample in dataset] == [(60, 80, 3)] * len(dataset)


def test_categories_keep_their_ids(tmp_path: Path) -> None:
    dataset = opened(write_coco(tmp_path))
    assert dataset.categories == (Category(3, "bolt"), Category(5, "nut"))
    assert dataset.annotated == {3, 5}


def test_a_file_without_info_area_and_iscrowd_is_completed(tmp_path: Path) -> None:
    content = coco_content()
    for annotation in content["annotations"]:
        del annotation["area"], annotation["iscrowd"]
    truth = opened(write_coco(tmp_path, content)).coco_ground_truth()
    assert [(a["area"], a["iscrowd"]) for a in truth["annotations"]] == [(400, 0), (1800, 0), (98.0, 0)]
    assert truth["info"] == {}


@pytest.mark.parametrize("ids", [(0, 1, 2), (4, 4, 5), (None, None, None)])
def test_ids_that_break_matching_are_numbered_anew_and_noted(tmp_path: Path, ids: tuple[int | None, ...]) -> None:
    content = coco_content()
    for annotation, number in zip(content["annotations"], ids, strict=True):
        del annotation["id"]
        annotation |= {} if number is None else {"id": number}
    dataset = opened(write_coco(tmp_path, content))
    assert [a["id"] for a in dataset.coco_ground_truth()["annotations"]] == [1, 2, 3]
    assert "numbered anew" in dataset.notes[0]


def test_good_ids_leave_no_note(tmp_path: Path) -> None:
    assert opened(write_coco(tmp_path)).notes == ()


def test_a_box_may_leave_its_image_by_two_pixels(tmp_path: Path) -> None:
    """Whole-pixel rounding and counting the last pixel in both happen in published annotations."""
    content = coco_content()
    content["annotations"][0]["bbox"] = [-2, -2, 84, 64]
    assert len(opened(write_coco(tmp_path, content))) == 2


SPOILED: dict[str, tuple[Callable[[Content], object], str]] = {
    "no annotations": (lambda c: c.update(annotations=[]), "the list 'annotations' is empty"),
    "no list": (lambda c: c.pop("categories"), r"has no list 'categories' \(it has: images, annotations\)"),
    "no object": (lambda c: c["images"].append("x"), r"images\[2\] is a str"),
    "image id missing": (lambda c: c["images"][0].pop("id"), "image 0 has id None, wanted a whole number"),
    "image id text": (lambda c: c["images"][0].update(id="7"), "image 0 has id '7', wanted a whole number"),
    "image id twice": (lambda c: c["images"][1].update(id=7), "image id 7 appears more than once"),
    "file name missing": (lambda c: c["images"][0].pop("file_name"), "image 7 has file_name None"),
    "file name twice": (lambda c: c["images"][1].update(file_name="007.png"), "image file_name 007.png appears"),
    "category name twice": (lambda c: c["categories"][1].update(name="bolt"), "category name bolt appears more"),
    "unknown image": (
        lambda c: c["annotations"][1].update(image_id=8),
        "1 of 3 annotations have image_id 8, which no image has; the file lists 2 image ids such as 7, 9",
    ),
    "unknown category": (
        lambda c: c["annotations"][1].update(category_id=4),
        "have category_id 4, which no category has",
    ),
    "box of three": (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), r"has bbox \[1, 2, 3\], wanted \[x, y"),
    "box of text": (lambda c: c["annotations"][0].update(bbox="1 2 3 4"), r"annotations\[0\] \(id 1\) has bbox '1 2"),
    "box missing": (lambda c: c["annotations"][0].pop("bbox"), "has bbox None"),
    "NaN": (lambda c: c["annotations"][0].update(bbox=[1, 2, 3, float("nan")]), "NaN or infinite numbers in bbox"),
    "negative width": (
        lambda c: c["annotations"][1].update(bbox=[5, 5, -5, 5]),
        r"1 of 3 annotations have a negative width or height, the first is annotations\[1\] \(id 2\) with bbox",
    ),
    "no width": (lambda c: c["annotations"][2].update(bbox=[5, 5, 0, 5]), "a width or height of zero"),
    "right of the image": (
        lambda c: c["annotations"][0].update(bbox=[70, 10, 12.5, 10]),
        "a box more than 2 pixels outside its image.* in image 7 of 80x60",
    ),
    "left of the image": (lambda c: c["annotations"][0].update(bbox=[-3, 1, 9, 9]), "more than 2 pixels outside"),
    "corners for sizes": (lambda c: c["annotations"][1].update(bbox=[50, 0, 80, 60]), r"bbox is \[x, y, width, h"),
    "fractions": (
        lambda c: [annotation.update(bbox=[0.1, 0.1, 0.5, 0.5]) for annotation in c["annotations"]],
        "all boxes lie within 0 and 1",
    ),
    "negative area": (lambda c: c["annotations"][0].update(area=-1), r"annotations\[0\] \(id 1\) has area -1"),
    "crowd of two": (lambda c: c["annotations"][0].update(iscrowd=2), "has iscrowd 2, wanted 0 or 1"),
}


@pytest.mark.parametrize(("change", "sentence"), SPOILED.values(), ids=SPOILED)
def test_a_wrong_annotation_file_is_refused_in_one_sentence(
    tmp_path: Path, change: Callable[[Content], object], sentence: str
) -> None:
    content = coco_content()
    change(content)
    with pytest.raises(DataError, match=sentence) as caught:
        open_dataset(write_coco(tmp_path, content))
    assert str(tmp_path / "labels.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "the annotation file is empty"),
        (b" \n", "the annotation file is empty"),
        (b'{"images": [{"id": 1, "file_na', "cut short after 30 characters"),
        (b'{"images": [{"id": 1},', "cut short after 22 characters"),
        (b"<annotation>", r"not JSON \(line 1, column 1"),
        (b'{"images": 1,, }', r"not JSON \(line 1, column 14"),
        (b"[]", "holds a JSON list, as detections do"),
        (b"7", "holds a JSON int"),
        (b"\x1f\x8b\x08\x00\xff", "is not text; give a COCO JSON file, unpacked"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_annotation_file_is_refused(tmp_path: Path, text: bytes, sentence: str) -> None:
    uri = write_coco(tmp_path)
    (tmp_path / "labels.json").write_bytes(text)
    with pytest.raises(DataError, match=sentence):
        open_dataset(uri)


def test_missing_files_are_named(tmp_path: Path) -> None:
    uri = write_coco(tmp_path)
    with pytest.raises(
        DataError, match="nowhere: there is no such image folder; the data are written coco:IMAGES_DIR:"
    ):
        open_dataset(f"coco:nowhere:{tmp_path / 'labels.json'}")
    with pytest.raises(DataError, match=r"labels\.json: is no folder; .* check the order"):
        open_dataset(f"coco:{tmp_path / 'labels.json'}:{tmp_path / 'images'}")
    with pytest.raises(DataError, match=r"nothing\.json: there is no such annotation file"):
        open_dataset(f"coco:{tmp_path / 'images'}:{tmp_path / 'nothing.json'}")
    with pytest.raises(DataError, match="cannot be read"):
        open_dataset(f"coco:{tmp_path / 'images'}:{tmp_path}")
    (tmp_path / "images" / "009.png").unlink()
    with pytest.raises(DataError, match=r"1 of 2 images of labels\.json are not in this folder \(009\.png\)"):
        open_dataset(uri)


@pytest.mark.parametrize("uri", ["coco:", "coco:images", "coco::labels.json", "coco:images:"])
def test_a_uri_without_both_parts_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match=r"write coco:IMAGES_DIR:ANNOTATIONS\.json"):
        open_dataset(uri)


@pytest.mark.parametrize("name", ["a:b", "coco:c:d", "C:"])
def test_paths_may_contain_colons(tmp_path: Path, name: str) -> None:
    uri = write_coco(tmp_path / name)
    assert len(open_dataset(uri)) == 2
    shutil.copy(tmp_path / name / "labels.json", tmp_path / f"{name}labels.json")
    assert len(open_dataset(f"coco:{tmp_path / name / 'images'}:{tmp_path}/{name}labels.json")) == 2


def test_a_windows_drive_is_not_split_off() -> None:
    with pytest.raises(DataError, match=r"^C:\\images: there is no such image folder"):
        open_dataset(r"coco:C:\images:D:\labels.json")


def test_an_unknown_kind_suggests_a_known_one() -> None:
    with pytest.raises(UsageError, match=r"'cocco' \(did you mean 'coco'\?\)"):
        open_dataset("cocco:a:b")


def test_the_digest_ignores_place_order_and_number_format(tmp_path: Path) -> None:
    content = coco_content()
    first = open_dataset(write_coco(tmp_path / "one", content)).digest
    for key in ("images", "annotations", "categories"):
        content[key].reverse()
    content["annotations"][0]["bbox"] = [float(value) for value in content["annotations"][0]["bbox"]]
    content["info"] = {"made": "today"}
    for number, annotation in enumerate(content["annotations"]):
        annotation["id"] = 100 + number
    assert open_dataset(write_coco(tmp_path / "two", content)).digest == first


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["annotations"][0].update(bbox=[10, 10, 20, 20.5]),
        lambda c: c["annotations"][0].update(category_id=5),
        lambda c: c["annotations"][0].update(iscrowd=1),
        lambda c: c["annotations"][0].update(area=399.0),
        lambda c: c["annotations"][0].update(image_id=9),
        lambda c: c["annotations"].pop(),
        lambda c: c["categories"][0].update(name="screw"),
        lambda c: c["images"].append({**c["images"][0], "id": 11, "file_name": "./007.png"}),
    ],
)
def test_the_digest_sees_every_change_of_the_labels(tmp_path: Path, change: Callable[[Content], object]) -> None:
    content = coco_content()
    before = open_dataset(write_coco(tmp_path, content)).digest
    change(content)
    assert open_dataset(write_coco(tmp_path, content)).digest != before


def test_the_digest_sees_a_change_of_an_image(tmp_path: Path) -> None:
    uri = write_coco(tmp_path)
    before = open_dataset(uri).digest
    shutil.copy(tmp_path / "images" / "007.png", tmp_path / "images" / "009.png")
    assert open_dataset(uri).digest != before


def test_the_first_images_are_a_data_set_of_their_own(tmp_path: Path) -> None:
    whole = opened(write_coco(tmp_path))
    part = whole.first(1)
    assert [sample.image_id for sample in part] == [7]
    assert {a["image_id"] for a in part.coco_ground_truth()["annotations"]} == {7}
    assert part.digest != whole.digest
    assert whole.first(2).digest == whole.digest == whole.first(99).digest


def test_an_image_of_another_size_than_annotated_is_refused(tmp_path: Path) -> None:
    dataset = open_dataset(write_coco(tmp_path))
    cv2.imwrite(str(tmp_path / "images" / "007.png"), np.zeros((80, 60, 3), np.uint8))
    with pytest.raises(DataError, match=r"007\.png: the image is 60x80, the annotations were made on 80x60"):
        next(iter(dataset)).image()


def test_a_damaged_image_is_refused_when_it_is_read(tmp_path: Path) -> None:
    dataset = open_dataset(write_coco(tmp_path))
    (tmp_path / "images" / "007.png").write_bytes(b"no picture")
    with pytest.raises(SourceError, match=r"007\.png is damaged"):
        next(iter(dataset)).image()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_image_without_permission_has_no_digest(tmp_path: Path) -> None:
    dataset = open_dataset(write_coco(tmp_path))
    (tmp_path / "images" / "007.png").chmod(0)
    with pytest.raises(DataError, match=r"007\.png: the image cannot be read"):
        _ = dataset.digest


def test_the_real_annotations_hold_what_pycocotools_reads(assets: Path) -> None:
    from pycocotools.coco import COCO

    folder = assets / "data" / "coco_tiny"
    file = folder / "annotations" / "instances_val2017.json"
    dataset = opened(f"coco:{folder / 'val2017'}:{file}")
    expected = COCO()
    expected.dataset = json.loads(file.read_text())
    expected.createIndex()
    truth = dataset.coco_ground_truth()
    assert {c.id: c.name for c in dataset.categories} == {i: c["name"] for i, c in expected.cats.items()}
    for image_id, annotations in expected.imgToAnns.items():
        ours = [a for a in truth["annotations"] if a["image_id"] == image_id]
        keys = ("category_id", "bbox", "area", "iscrowd")
        assert [[a[key] for key in keys] for a in ours] == [[a[key] for key in keys] for a in annotations]
