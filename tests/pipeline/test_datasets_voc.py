"""Data in PASCAL VOC's layout: what its annotations mean, and the sentence for every way in which one can be wrong."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgewright.pipeline.datasets import Category, open_dataset
from edgewright.pipeline.datasets._safe_xml import read_xml
from edgewright.pipeline.datasets.voc import VocDataset
from edgewright.pipeline.metrics.coco_masks import with_masks
from edgewright.pipeline.metrics.ranked import voc_ranked
from edgewright.runtime.errors import DataError

DOG = ("dog", 9, 5, 18, 14, 0)
CAT = ("cat", 1, 1, 40, 20, 1)


def annotation(*objects: tuple[Any, ...], size: str = "<width>40</width><height>20</height>") -> str:
    """Objects are name, xmin, ymin, xmax, ymax, difficult; a part of a body has a name and a box of its own."""
    found = [
        f"  <object>\n    <name>{name}</name>\n    <difficult>{difficult}</difficult>\n"
        f"    <bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>\n"
        "    <part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>\n"
        "  </object>\n"
        for name, x1, y1, x2, y2, difficult in objects
    ]
    return f"<annotation>\n  <size>{size}<depth>3</depth></size>\n{''.join(found)}</annotation>\n"


def write(root: Path, annotations: dict[str, str], lists: dict[str, str] | None = None) -> str:
    """A data set of pictures of 40 x 20; without `lists` all of them are in the split `val`."""
    for name in ("Annotations", "JPEGImages", "ImageSets/Main", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for number, (stem, text) in enumerate(annotations.items()):
        (root / "Annotations" / f"{stem}.xml").write_text(text)
        cv2.imwrite(str(root / "JPEGImages" / f"{stem}.jpg"), np.full((20, 40, 3), number, np.uint8))
    for name, text in (lists or {"Main/val": "\n".join(annotations)}).items():
        (root / "ImageSets" / f"{name}.txt").write_text(text)
    return f"voc:{root}"


def opened(uri: str) -> VocDataset:
    dataset = open_dataset(uri)
    assert isinstance(dataset, VocDataset)
    return dataset


def test_boxes_count_pixels_from_one_and_hold_the_last(tmp_path: Path) -> None:
    """VOC2007 development kit, 3.3: the top left pixel is (1, 1)."""
    truth = opened(write(tmp_path, {"a": annotation(DOG, CAT)})).coco_ground_truth()
    assert [(a["bbox"], a["area"], a["iscrowd"], a["difficult"]) for a in truth["annotations"]] == [
        ([8, 4, 10, 10], 100, 0, 0),
        ([0, 0, 40, 20], 800, 1, 1),
    ]
    assert truth["images"] == [{"id": 1, "file_name": "JPEGImages/a.jpg", "width": 40, "height": 20}]


def test_difficult_objects_do_not_count_and_that_is_said(tmp_path: Path) -> None:
    dataset = opened(write(tmp_path, {"a": annotation(DOG, CAT)}))
    assert dataset.notes == (
        "1 objects are marked as difficult: they need not be found, and COCO's measurements take them for crowds",
    )
    ranked = voc_ranked(dataset.coco_ground_truth(), [])
    assert [ranked.categories[k] for k in ranked.object_category] == ["dog"]


def test_the_classes_of_the_challenge_keep_their_numbers_and_others_are_sorted(tmp_path: Path) -> None:
    """VOCinit.m: aeroplane is 1, cat 8, dog 12, tvmonitor 20."""
    voc = {category.name: category.id for category in opened(write(tmp_path / "a", {"a": annotation(DOG)})).categories}
    assert [voc[name] for name in ("aeroplane", "cat", "dog", "tvmonitor")] == [1, 8, 12, 20]
    own = opened(write(tmp_path / "b", {"a": annotation(DOG, ("bolt", 1, 1, 5, 5, 0))}))
    assert own.categories == (Category(1, "bolt"), Category(2, "dog"))


def test_splits_are_lists_of_names_and_may_carry_a_mark(tmp_path: Path) -> None:
    files = {stem: annotation(DOG) for stem in ("x1", "x2", "x3")}
    uri = write(tmp_path, files, {"Main/val": "x2\nx1\n", "Main/dog_train": "x3  1\n", "Segmentation/val": "x1\n"})
    stems = {
        split: [sample.path.stem for sample in opened(f"{uri}{split}") if sample.path]
        for split in ("", ":dog_train", ":Segmentation/val")
    }
    assert stems == {"": ["x2", "x1"], ":dog_train": ["x3"], ":Segmentation/val": ["x1"]}
    assert opened(f"{uri}:dog_train").uri == f"{uri}:dog_train"
    assert opened(opened(f"{uri}:Segmentation/val").uri).digest == opened(f"{uri}:Segmentation/val").digest
    with pytest.raises(DataError, match=r"has no split 'test' .* there are: Segmentation/val, val; write voc:ROOT"):
        open_dataset(f"{uri}:test")


def test_without_splits_every_annotation_is_read(tmp_path: Path) -> None:
    uri = write(tmp_path, {"b": annotation(DOG), "a": annotation()})
    for path in (tmp_path / "ImageSets").rglob("*"):
        if path.is_file():
            path.unlink()
    for folder in ("Main", "Segmentation", ""):
        (tmp_path / "ImageSets" / folder).rmdir()
    assert [sample.path for sample in opened(uri)] == [tmp_path / "JPEGImages" / f"{stem}.jpg" for stem in ("a", "b")]
    assert opened(uri).uri == uri


def test_objects_have_the_masks_of_their_number(tmp_path: Path) -> None:
    """VOC2012 development kit, 4.4: object k of the annotation has index k, 255 is an undecided border."""
    uri = write(tmp_path, {"a": annotation(DOG, CAT)})
    before = opened(uri).digest
    for kind, (first, second) in (("Object", (1, 2)), ("Class", (12, 8))):
        mask = np.zeros((20, 40), np.uint8)
        mask[4:14, 8:18], mask[15:, :] = first, second
        mask[4, 8:18] = 255
        (tmp_path / f"Segmentation{kind}").mkdir()
        cv2.imwrite(str(tmp_path / f"Segmentation{kind}" / "a.png"), mask)
    dataset = opened(uri)
    truth = with_masks(dataset.coco_ground_truth())
    assert truth is not None
    assert [a["area"] for a in truth["annotations"]] == [90, 200]
    assert np.unique(dataset.class_mask(1)).tolist() == [0, 8, 12, 255]
    assert dataset.classes[12] == Category(12, "dog")
    assert dataset.digest != before
    assert dataset.first(1).digest == dataset.digest


def test_a_size_of_zero_is_read_from_the_image(tmp_path: Path) -> None:
    uri = write(tmp_path, {"a": annotation(DOG, size="<width>0</width><height>0</height>")})
    assert opened(uri).coco_ground_truth()["images"][0]["width"] == 40


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (annotation(("", 1, 1, 5, 5, 0)), "a.xml:3: the object has no name"),
        (annotation(DOG).replace("bndbox", "box"), "a.xml:3: the dog has no bndbox"),
        (annotation(("dog", "x", 1, 5, 5, 0)), "a.xml:6: xmin is 'x', wanted a number of pixels"),
        (annotation(("dog", "nan", 1, 5, 5, 0)), "a.xml:6: xmin is 'nan'"),
        (annotation(("dog", 6, 1, 5, 5, 0)), "a.xml:6: the dog reaches from 6, 1 to 5, 5, wanted xmin <= xmax"),
        (annotation(("dog", 1, 1, 5, 5, "yes")), "a.xml:3: the dog has difficult 'yes', wanted 0 or 1"),
        (annotation(("dog", 1, 1, 50, 5, 0)), "1 of 1 annotations have a box more than 2 pixels outside its image"),
        (annotation(), "none of its 1 images has an object"),
        ("<annotation>\n<object>\n", "a.xml:3: this is no XML"),
        ("", "a.xml:1: this is no XML"),
    ],
)
def test_a_defect_of_an_annotation_is_named_by_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        open_dataset(write(tmp_path, {"a": text}))


def test_other_xml_and_lists_that_are_no_text_are_refused(tmp_path: Path) -> None:
    uri = write(tmp_path, {"a": annotation(DOG), "b": "<html/>"})
    with pytest.raises(DataError, match=r"b\.xml: the XML is a <html>, wanted an <annotation>"):
        opened(uri)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_bytes(b"\xff\xfea")
    with pytest.raises(DataError, match=r"val\.txt: cannot be read as UTF-8 text"):
        opened(uri)


def test_xml_that_defines_entities_or_is_huge_is_refused(tmp_path: Path) -> None:
    """The billion laughs, CVE-2003-1564, and a file of the system."""
    bomb = '<?xml version="1.0"?>\n<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>\n<annotation>&b;</annotation>'
    stolen = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>'
    for text in (bomb, stolen):
        with pytest.raises(DataError, match=r"a.xml:\d: the XML has a document type"):
            open_dataset(write(tmp_path, {"a": text}))
    (tmp_path / "big.xml").write_bytes(b" " * (17 << 20))
    with pytest.raises(DataError, match="the annotation has 17 MiB, wanted at most 16"):
        read_xml(tmp_path / "big.xml")


def test_missing_parts_are_named(tmp_path: Path) -> None:
    uri = write(tmp_path, {"a": annotation(DOG)})
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"b\.xml: the annotation cannot be read"):
        open_dataset(uri)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("a\na\n")
    with pytest.raises(DataError, match="lists 'a' more than once"):
        open_dataset(uri)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("a\n")
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(DataError, match="has no image 'a', which"):
        open_dataset(uri)
    with pytest.raises(DataError, match="has no folder Annotations"):
        open_dataset(f"voc:{tmp_path / 'elsewhere'}")
