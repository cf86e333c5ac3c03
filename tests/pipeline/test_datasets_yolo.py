"""Data in Ultralytics' layout: what its labels mean, and the sentence for every way in which one can be wrong."""

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.pipeline.datasets import BoxDataset, Category, open_dataset
from edgewright.pipeline.datasets._image_size import image_size
from edgewright.pipeline.datasets._matching import match_labels
from edgewright.runtime.errors import DataError, SourceError, UsageError
from edgewright.runtime.spec import HeadSpec, ModelSpec, PreprocessSpec

YAML = "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: bolt\n  1: nut\n"


def write(folder: Path, labels: dict[str, str | None], yaml: str = YAML, split: str = "val") -> str:
    """A data set of pictures of 40 x 20; a label of None is no file."""
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True, exist_ok=True)
    for number, (name, text) in enumerate(labels.items()):
        picture = np.full((20, 40, 3), number, np.uint8)
        cv2.imwrite(str(folder / "images" / split / f"{name}.png"), picture)
        if text is not None:
            (folder / "labels" / split / f"{name}.txt").write_text(text)
    (folder / "data.yaml").write_text(yaml)
    return f"yolo:{folder / 'data.yaml'}"


def opened(uri: str) -> BoxDataset:
    dataset = open_dataset(uri)
    assert isinstance(dataset, BoxDataset)
    return dataset


def test_boxes_are_centres_and_sizes_in_fractions_of_the_image(tmp_path: Path) -> None:
    dataset = opened(
        write(tmp_path, {"2": "1 0.5 0.5 0.5 0.2\n0 0.25 0.25 0.5 0.5", "10": "0 0.5 0.5 1 1\n", "11": ""})
    )
    truth = dataset.coco_ground_truth()
    assert [image["file_name"].rpartition("/")[2] for image in truth["images"]] == ["2.png", "10.png", "11.png"]
    assert [(a["image_id"], a["category_id"], a["bbox"]) for a in truth["annotations"]] == [
        (1, 1, pytest.approx([10, 8, 20, 4])),
        (1, 0, pytest.approx([0, 0, 20, 10])),
        (2, 0, pytest.approx([0, 0, 40, 20])),
    ]
    assert truth["annotations"][0]["area"] == pytest.approx(80)
    assert dataset.categories == (Category(0, "bolt"), Category(1, "nut"))
    assert [sample.image().shape for sample in dataset] == [(20, 40, 3)] * len(dataset)


def test_more_values_are_the_points_of_a_polygon(tmp_path: Path) -> None:
    """A triangle over half of its bounding box."""
    (label,) = opened(write(tmp_path, {"a": "1 0.25 0 0.75 0 0.25 0.5"})).coco_ground_truth()["annotations"]
    assert label["bbox"] == pytest.approx([10, 0, 20, 10])
    assert label["area"] == pytest.approx(100)
    assert label["segmentation"] == [pytest.approx([10, 0, 30, 0, 10, 10])]


def test_images_without_labels_and_repeated_labels_are_noted(tmp_path: Path) -> None:
    dataset = opened(write(tmp_path, {"a": "0 0.5 0.5 0.5 0.5\n" * 3, "b": None, "c": ""}))
    assert len(dataset.coco_ground_truth()["annotations"]) == 1
    assert dataset.notes == (
        "1 images have no label file, so they count as images without objects",
        "2 labels are repeated in their file and count once",
    )


def test_a_split_may_be_named_and_may_be_a_list_of_images(tmp_path: Path) -> None:
    uri = write(tmp_path, {"a": "0 0.5 0.5 1 1", "b": "1 0.5 0.5 1 1"}, split="train")
    assert len(opened(f"{uri}:train")) == 2
    assert opened(f"{uri}:train").uri == f"{uri}:train"
    (tmp_path / "list.txt").write_text("./images/train/b.png\n\n")
    (tmp_path / "data.yaml").write_text(YAML.replace("images/val", "list.txt"))
    assert [sample.path for sample in opened(uri)] == [tmp_path / "images" / "train" / "b.png"]
    (tmp_path / "data.yaml").write_text(YAML.replace("images/val", "[images/train, list.txt]"))
    assert len(opened(uri)) == 2


def test_an_export_that_goes_up_one_folder_too_many_is_understood(tmp_path: Path) -> None:
    """Roboflow writes ../valid/images into a file that lies beside `valid`."""
    uri = write(tmp_path, {"a": "0 0.5 0.5 1 1"}, yaml="val: ../images/val\nnames: [bolt, nut]\nnc: 2\n")
    assert len(opened(uri)) == 1


def test_names_decide_which_label_is_meant_whatever_the_numbers(tmp_path: Path) -> None:
    dataset = opened(write(tmp_path, {"a": "0 0.5 0.5 1 1\n1 0.5 0.5 1 1"}))
    spec = ModelSpec(
        name="n",
        task="detect",
        labels=("nut", "bolt"),
        inputs=(),
        outputs=(),
        preprocess=PreprocessSpec(size_hw=(8, 8)),
        head=HeadSpec(kind="dense", outputs={}),
        category_ids=(7, 9),
    )
    assert match_labels(spec, dataset) == (1, 0)


def test_the_digest_is_the_same_at_another_path_and_follows_the_labels(tmp_path: Path) -> None:
    text = {"a": "0 0.5 0.5 1 1", "b": None}
    first = opened(write(tmp_path / "x", text))
    assert first.digest == opened(write(tmp_path / "y", text)).digest
    assert first.digest != opened(write(tmp_path / "z", {**text, "a": "1 0.5 0.5 1 1"})).digest


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("0 0.5 0.5 1", "a.txt:2: 4 values, wanted 5"),
        ("0 0.5 0.5 1 1 0.5", "a.txt:2: 6 values, wanted 5"),
        ("2 0.5 0.5 1 1", "a.txt:2: class 2, wanted a whole number from 0 to 1"),
        ("0.5 0.5 0.5 1 1", r"a.txt:2: class 0.5, wanted a whole number"),
        ("-1 0.5 0.5 1 1", "a.txt:2: class -1"),
        ("0 20 10 5 5", "a.txt:2: holds 20, wanted fractions of the image from 0 to 1"),
        ("0 -0.5 0.5 1 1", "a.txt:2: holds -0.5"),
        ("0 x 0.5 1 1", "a.txt:2: 'x' is no number"),
        ("0 nan 0.5 1 1", "a.txt:2: 'nan' is no number"),
        ("0 0.5 0.5 0 1", "a.txt:2: the box is 0 wide and 1 high, which nothing can match"),
        ("0 0.5 0.5 0.5 0.6 0.5 0.7", "a.txt:2: the polygon has no extent"),
    ],
)
def test_a_defect_of_a_label_is_named_by_its_line(tmp_path: Path, line: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        open_dataset(write(tmp_path, {"a": f"0 0.5 0.5 1 1\n{line}\n"}))


@pytest.mark.parametrize(
    ("yaml", "error", "sentence"),
    [
        ("val: images/val\n", UsageError, "'names' Field required"),
        (YAML + "nc: 3\n", DataError, "nc is 3, but there are 2 names"),
        (YAML.replace("1: nut", "2: nut"), DataError, r"names are numbered \[0, 2\], wanted 0, 1, 2"),
        (YAML.replace("val: images/val\n", ""), DataError, "has no split 'val'; there are: train"),
        (YAML.replace("images/val", "images/vla"), DataError, "names the images 'images/vla', and there is nothing"),
        (YAML.replace("path: .", "path: elsewhere"), DataError, "path is 'elsewhere', and there is no such folder"),
        (YAML.replace("images/val", "labels"), DataError, "holds no images"),
        (YAML.replace("images/val", "images/val/list.txt"), DataError, r"list.txt:1: there is no image"),
    ],
)
def test_a_defect_of_the_yaml_file_is_named(tmp_path: Path, yaml: str, error: Any, sentence: str) -> None:
    uri = write(tmp_path, {"a": "0 0.5 0.5 1 1"}, yaml)
    (tmp_path / "images" / "val" / "list.txt").write_text("gone.png\n")
    with pytest.raises(error, match=sentence):
        open_dataset(uri)


def test_images_without_any_label_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"none of the 1 images of 'val' has an object; labels are searched at .*a\.txt"
    ):
        open_dataset(write(tmp_path, {"a": None}))
    with pytest.raises(UsageError, match="there is no file"):
        open_dataset("yolo:nowhere.yaml")


def test_the_size_of_a_picture_is_that_of_its_decoded_pixels(tmp_path: Path) -> None:
    for suffix in (".png", ".jpg", ".bmp", ".webp"):
        cv2.imwrite(str(tmp_path / f"a{suffix}"), np.zeros((13, 29, 3), np.uint8))
        assert image_size(tmp_path / f"a{suffix}") == (29, 13)


def test_a_picture_that_exif_data_turn_has_the_size_of_the_upright_one(tmp_path: Path) -> None:
    """EXIF 2.3, 4.6.4: orientation 6 turns by a quarter."""
    data = cv2.imencode(".jpg", np.zeros((13, 29, 3), np.uint8))[1].tobytes()
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    (tmp_path / "a.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    assert image_size(tmp_path / "a.jpg") == (13, 29)


@given(st.binary(max_size=40))
def test_no_damaged_head_of_a_jpeg_file_is_more_than_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.jpg"
    path.write_bytes(b"\xff\xd8" + data)
    with contextlib.suppress(SourceError):
        assert min(image_size(path)) > 0


def test_real_labels_in_this_layout_are_those_of_coco(assets: Path, tmp_path: Path) -> None:
    """As Ultralytics converts them: classes from 0 on, no crowds, fractions."""
    folder = assets / "data" / "coco_tiny"
    coco = json.loads((folder / "annotations" / "instances_val2017.json").read_text())
    number = {c["id"]: k for k, c in enumerate(coco["categories"])}
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    wanted = []
    for image in sorted(coco["images"], key=lambda image: image["file_name"]):
        (tmp_path / "images" / image["file_name"]).symlink_to(folder / "val2017" / image["file_name"])
        labels = [a for a in coco["annotations"] if a["image_id"] == image["id"] and not a["iscrowd"]]
        wanted += [(number[a["category_id"]], a["bbox"]) for a in labels]
        lines = [
            f"{number[a['category_id']]} {(x + w / 2) / image['width']} {(y + h / 2) / image['height']} "
            f"{w / image['width']} {h / image['height']}\n"
            for a in labels
            for x, y, w, h in [a["bbox"]]
        ]
        (tmp_path / "labels" / f"{image['file_name'][:-4]}.txt").write_text("".join(lines))
    (tmp_path / "data.yaml").write_text(json.dumps({"val": "images", "names": [c["name"] for c in coco["categories"]]}))
    got = opened(f"yolo:{tmp_path / 'data.yaml'}").coco_ground_truth()["annotations"]
    assert [a["category_id"] for a in got] == [class_id for class_id, _ in wanted]
    np.testing.assert_allclose([a["bbox"] for a in got], [box for _, box in wanted], atol=1e-9)


def test_a_list_of_images_that_is_no_text_is_named(tmp_path: Path) -> None:
    uri = write(tmp_path, {"1": "0 0.5 0.5 1 1"}, yaml=YAML.replace("images/val", "val.txt"))
    (tmp_path / "val.txt").write_bytes(b"\xff\xfea")
    with pytest.raises(DataError, match=r"val\.txt: cannot be read as UTF-8 text"):
        opened(uri)
