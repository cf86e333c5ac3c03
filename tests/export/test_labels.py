"""Label lists, built in and from files."""

from pathlib import Path

import pytest

from edgewright.export.labels import LabelSet, builtin_labels, load_labels
from edgewright.runtime.conveyor import LABELS
from edgewright.runtime.errors import UsageError


def test_the_built_in_lists_are_found_by_name() -> None:
    assert set(builtin_labels()) >= {"coco80", "coco91", "conveyor", "voc20"}
    for name in builtin_labels():
        assert load_labels(name).labels


def test_coco_ids_have_the_gaps_of_the_published_annotations() -> None:
    """instances_val2017.json: 80 categories, ids 1..90; traffic light 10, fire hydrant 11, stop sign 13, toothbrush 90."""
    coco80 = load_labels("coco80")
    ids = dict(zip(coco80.labels, coco80.category_ids or (), strict=True))
    assert len(ids) == 80
    assert [ids[name] for name in ("person", "fire hydrant", "stop sign", "toothbrush")] == [1, 11, 13, 90]


def test_the_index_of_coco91_is_the_category_id() -> None:
    coco80, coco91 = load_labels("coco80"), load_labels("coco91")
    assert coco91.category_ids == tuple(range(91))
    assert coco91.labels[0] == "background"
    assert coco80.labels == tuple(coco91.labels[number] for number in coco80.category_ids or ())


def test_voc_has_twenty_classes_in_alphabetical_order() -> None:
    voc = load_labels("voc20")
    assert len(voc.labels) == 20
    assert list(voc.labels) == sorted(voc.labels)
    assert voc.category_ids is None


def test_the_conveyor_list_is_that_of_the_generator() -> None:
    assert load_labels("conveyor") == LabelSet(LABELS)


def test_a_text_file_has_one_label_a_line(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes("\ufeffbolt\r\nSchraube groß\r\n\r\n".encode())
    assert load_labels(file) == LabelSet(("bolt", "Schraube groß"))


def test_a_line_may_carry_a_category_id(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("bolt\t7\nnut\t 3\n")
    assert load_labels(str(file)) == LabelSet(("bolt", "nut"), (7, 3))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty; write one label a line"),
        (b"\n\n", "is empty; write one label a line"),
        (b"bolt\n\nnut\n", "line 2: the line is blank"),
        (b"bolt\nnut\nbolt\n", "label 'bolt' appears twice"),
        (b"bolt\t1\nnut\t1\n", "category id '1' appears twice"),
        (b"bolt\t1\nnut\n", "1 of 2 labels have a category id"),
        (b"bolt\tM8\n", "line 1: 'M8' after the tab is not a category id"),
        (b"\xff\xfeb\x00o\x00", "is not UTF-8 text"),
        (b"bolt\x00nut", "is a binary file"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=sentence) as caught:
        load_labels(file)
    assert str(file) in str(caught.value)


def test_an_unknown_name_suggests_a_known_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'coco8' is neither a file nor a built-in list \(did you mean 'coco80'\?\)"):
        load_labels("coco8")
    with pytest.raises(UsageError, match="cannot be read"):
        load_labels(tmp_path)
