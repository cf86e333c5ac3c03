"""Folders of class masks: pairing, every way in which tools store numbers, and what is refused."""

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgewright.pipeline.datasets import MaskDataset, open_dataset
from edgewright.runtime.errors import DataError, UsageError

IDS = np.array([[0, 1, 2], [11, 255, 7]], np.uint8)
IMAGE = np.zeros((2, 3, 3), np.uint8)


def folders(root: Path, masks: dict[str, Any], images: tuple[str, ...] = ("a.jpg",)) -> str:
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in images:
        cv2.imwrite(str(root / "images" / name), IMAGE)
    for name, content in masks.items():
        path = root / "masks" / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            cv2.imwrite(str(path), content)
    return f"masks:{root / 'images'}:{root / 'masks'}"


def opened(uri: str) -> MaskDataset:
    dataset = open_dataset(uri)
    assert isinstance(dataset, MaskDataset)
    return dataset


def palette_png(ids: Any, palette: bytes) -> bytes:
    """A PNG of colour type 3, written by hand from its specification."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = ids.shape
    rows = b"".join(b"\0" + row.tobytes() for row in ids)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"PLTE", palette)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def voc_palette() -> bytes:
    """The colours of PASCAL VOC's masks, from its development kit: bit k of a class goes to bit 7 - k // 3 of channel k % 3."""
    colors = np.zeros((256, 3), np.uint8)
    for number in range(256):
        for bit in range(8):
            if number >> bit & 1:
                colors[number, bit % 3] |= 1 << (7 - bit // 3)
    return colors.tobytes()


def test_images_come_in_natural_order_with_the_masks_of_their_names(tmp_path: Path) -> None:
    uri = folders(tmp_path, {"b2.png": IDS, "b10.png": IDS + 1, "other.png": IDS}, ("b10.jpg", "b2.png"))
    dataset = opened(uri)
    assert [(s.image_id, s.path and s.path.name) for s in dataset] == [(1, "b2.png"), (2, "b10.jpg")]
    np.testing.assert_array_equal(dataset.class_mask(1), IDS)
    np.testing.assert_array_equal(dataset.class_mask(2), IDS + 1)
    assert dataset.uri == uri
    assert next(iter(dataset)).image().shape == IMAGE.shape
    assert [s.image_id for s in dataset.first(1)] == [1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", IDS),
        ("a.bmp", IDS),
        ("a.tif", IDS),
        ("a.png", IDS.astype(np.uint16)),
        ("a.png", np.repeat(IDS[..., None], 3, axis=2)),
        ("a.png", palette_png(IDS, voc_palette())),
        # Unused entries are often all black, like class 0.
        ("a.png", palette_png(IDS, voc_palette()[: 12 * 3] + bytes(3 * 243) + b"\xff\xff\xff")),
    ],
)
def test_numbers_are_read_however_they_are_stored(tmp_path: Path, name: str, content: Any) -> None:
    np.testing.assert_array_equal(opened(folders(tmp_path, {name: content})).class_mask(1), IDS)


def test_numbers_beyond_255_need_16_bits(tmp_path: Path) -> None:
    ids = IDS.astype(np.uint16) * 200
    np.testing.assert_array_equal(opened(folders(tmp_path, {"a.png": ids})).class_mask(1), ids)


def test_the_digest_follows_images_masks_and_their_number_but_not_the_path(tmp_path: Path) -> None:
    base = opened(folders(tmp_path / "1", {"a.png": IDS, "b.png": IDS}, ("a.png", "b.png")))
    assert base.digest == opened(folders(tmp_path / "2", {"a.png": IDS, "b.png": IDS}, ("a.png", "b.png"))).digest
    assert base.digest != opened(folders(tmp_path / "3", {"a.png": IDS, "b.png": IDS + 1}, ("a.png", "b.png"))).digest
    assert base.digest != base.first(1).digest


def test_folders_may_have_a_colon_in_their_names(tmp_path: Path) -> None:
    assert len(opened(folders(tmp_path / "run:7", {"a.png": IDS}))) == 1


@pytest.mark.parametrize(
    ("masks", "sentence"),
    [
        (
            {},
            r"1 of 1 images have no mask of their name \(a.jpg\); a.jpg wants a.png \(there are 0 masks, such as none\)",
        ),
        ({"a.jpg": IDS}, "1 of 1 images have no mask of their name"),
        ({"a.png": IDS, "a.bmp": IDS}, "a.bmp and a.png are masks of one image"),
    ],
)
def test_images_without_exactly_one_mask_are_named(tmp_path: Path, masks: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        open_dataset(folders(tmp_path, masks))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "damaged, cut off or no picture"),
        (b"no picture", "damaged, cut off or no picture"),
        (palette_png(IDS, voc_palette())[:-20], "damaged, cut off or no picture"),
        (np.dstack([IDS, IDS + 1, IDS]), "is a colour picture, so its numbers are unknown"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path: Path, content: Any, sentence: str) -> None:
    dataset = opened(folders(tmp_path, {"a.png": content}))
    with pytest.raises(DataError, match=sentence):
        dataset.class_mask(1)


def test_masks_of_fractions_are_refused(tmp_path: Path) -> None:
    dataset = opened(folders(tmp_path, {"a.tif": IDS.astype(np.float32)}))
    with pytest.raises(DataError, match="holds float32, wanted 8 or 16 bits"):
        dataset.class_mask(1)


def test_missing_folders_and_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="write masks:IMAGES_DIR:MASKS_DIR"):
        open_dataset("masks:somewhere")
    with pytest.raises(DataError, match="nowhere: there is no such folder"):
        open_dataset(f"masks:{tmp_path}:{tmp_path / 'nowhere'}")
