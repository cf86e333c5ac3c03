"""Sources: images, videos, cameras and rendered film."""

import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.runtime import plugins, sources
from edgewright.runtime.conveyor import LABELS, render
from edgewright.runtime.errors import SourceError, UsageError
from edgewright.runtime.results import Detections
from edgewright.runtime.sources import Source, open_source
from edgewright.runtime.sources.images import natural_key, read_image
from edgewright.runtime.uri import split_options


def picture(path: Path, value: int = 90, size_hw: tuple[int, int] = (12, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size_hw, 3), value, np.uint8))
    return path


def video(path: Path, frames: int = 6, fps: float = 12.5, size_hw: tuple[int, int] = (48, 64)) -> Path:
    """A film whose frame i has the grey level 20 * i."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size_hw[::-1])
    for index in range(frames):
        writer.write(np.full((*size_hw, 3), 20 * index, np.uint8))
    writer.release()
    return path


def names(uri: str | Path) -> list[str]:
    with open_source(str(uri)) as source:
        return [Path(frame.source).name for frame in source]


# --- pictures


def test_a_folder_gives_its_pictures_in_natural_order_and_not_its_other_files(tmp_path: Path) -> None:
    for name in ("img10.png", "img2.PNG", "Img1.jpg", "b.bmp", ".hidden.png"):
        picture(tmp_path / name)
    (tmp_path / "readme.txt").write_text("no picture")
    picture(tmp_path / "sub" / "img0.png")
    assert names(tmp_path) == ["b.bmp", "Img1.jpg", "img2.PNG", "img10.png"]


def test_a_glob_pattern_enters_subfolders_and_a_question_mark_stays_a_wildcard(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/2.png", "b/10.png", "b/x.jpg"):
        picture(tmp_path / name)
    assert names(tmp_path / "**" / "*.png") == ["1.png", "2.png", "10.png"]
    assert names(f"images:{tmp_path}/b/?.png") == ["2.png"]


def test_a_file_is_taken_for_what_it_is(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    shutil.copy(image, tmp_path / "no_suffix")
    shutil.copy(image, tmp_path / "with:colon.png")
    film = video(tmp_path / "film.mp4")
    shutil.copy(film, tmp_path / "film_without_suffix")
    lengths = {}
    for name in ("a.png", "no_suffix", "with:colon.png", "film.mp4", "film_without_suffix"):
        with open_source(str(tmp_path / name)) as source:
            lengths[name] = sum(1 for _ in source)
    assert lengths == {"a.png": 1, "no_suffix": 1, "with:colon.png": 1, "film.mp4": 6, "film_without_suffix": 6}


def test_a_frame_knows_its_place_its_file_and_its_time(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / name)
    before = time.monotonic()
    with open_source(str(tmp_path)) as source:
        frames = list(source)
        assert (source.length, source.live, source.labels, source.fps) == (2, False, None, None)
    assert [(frame.index, frame.source) for frame in frames] == [
        (0, str(tmp_path / "a.png")),
        (1, str(tmp_path / "b.png")),
    ]
    assert before <= frames[0].time_s <= frames[1].time_s <= time.monotonic()


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        # PNG specification, 13.12: the simplest way from 16 to 8 bits is to drop the low byte.
        (np.full((4, 5), 0x1234, np.uint16), [0x12, 0x12, 0x12]),
        (np.full((4, 5, 3), 0xABCD, np.uint16), [0xAB, 0xAB, 0xAB]),
        (np.full((4, 5), 77, np.uint8), [77, 77, 77]),
        (np.full((4, 5, 4), (10, 20, 30, 0), np.uint8), [10, 20, 30]),
    ],
    ids=["grey16", "color16", "grey8", "transparent"],
)
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_pictures_of_every_kind_become_bgr_uint8(tmp_path: Path, stored: Any, expected: list[int], suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), stored)
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.shape == (4, 5, 3)
    assert image[2, 2].tolist() == expected


def test_exif_orientation_turns_the_picture_upright(tmp_path: Path) -> None:
    # Exif 2.3, tag 0x0112: 6 says that the stored top row is the right edge of the upright picture.
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:8] = (0, 0, 255)
    jpeg = cv2.imencode(".jpg", stored)[1].tobytes()
    tiff = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + b"\0\0\0\0"
    segment = b"Exif\0\0" + tiff
    path = tmp_path / "turned.jpg"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + jpeg[2:])
    image = read_image(path)
    assert image.shape == (48, 32, 3)
    assert image[:, -4:, 2].mean() > 200 > 50 > image[:, :4, 2].mean()


def test_damaged_pictures_of_a_folder_are_skipped_named_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = picture(tmp_path / "1.jpg", size_hw=(200, 200))
    (tmp_path / "2.jpg").write_bytes(good.read_bytes()[:-100])
    (tmp_path / "3.png").write_text("no picture at all")
    (tmp_path / "4.png").touch()
    picture(tmp_path / "5.png")
    with caplog.at_level(logging.WARNING), open_source(str(tmp_path)) as source:
        assert [frame.index for frame in source] == [0, 4]
        assert source.skipped == 3
    assert [name for name in ("2.jpg", "3.png", "4.png") if any(name in m for m in caplog.messages)] == [
        "2.jpg",
        "3.png",
        "4.png",
    ]


@given(st.lists(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1), max_size=8))
def test_natural_order_does_not_depend_on_the_order_of_listing(texts: list[str]) -> None:
    forth = [Path(text) for text in texts]
    back = [Path(text) for text in texts[::-1]]
    assert sorted(forth, key=natural_key) == sorted(back, key=natural_key)


def test_numbers_in_names_are_ordered_by_value() -> None:
    ordered = ["frame-1.5.png", "frame-1.10.png", "frame-2.png", "frame-010.png", "frame-11.png"]
    mixed = [Path(name) for name in (ordered[3], ordered[1], ordered[4], ordered[0], ordered[2])]
    assert [str(path) for path in sorted(mixed, key=natural_key)] == ordered


# --- videos


def test_a_video_gives_all_frames_with_their_media_time(tmp_path: Path) -> None:
    with open_source(str(video(tmp_path / "film.mp4", frames=6, fps=12.5))) as source:
        assert (source.length, source.fps) == (6, 12.5)
        frames = list(source)
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4, 5]
    assert [frame.meta["pos_msec"] for frame in frames] == pytest.approx([0, 80, 160, 240, 320, 400])
    assert [frame.image.mean() for frame in frames] == pytest.approx([0, 20, 40, 60, 80, 100], abs=6)


def test_rotation_metadata_turns_the_video_upright(tmp_path: Path) -> None:
    path = video(tmp_path / "phone.mp4", size_hw=(48, 64))
    data = bytearray(path.read_bytes())
    # ISO/IEC 14496-12, 8.3.2: the matrix of version 0 of 'tkhd' starts 44 bytes behind its type; 0 1 -1 0 turns by 90°.
    matrix = data.index(b"tkhd") + 44
    one = 0x00010000
    data[matrix : matrix + 20] = b"".join((v & 0xFFFFFFFF).to_bytes(4, "big") for v in (0, one, 0, -one, 0))
    path.write_bytes(data)
    with open_source(str(path)) as source:
        assert next(iter(source)).size_hw == (64, 48)


def test_a_cut_off_video_gives_its_frames_and_then_says_so(tmp_path: Path, assets: Path) -> None:
    whole = assets / "videos" / "car-detection.mp4"
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole.read_bytes()[:400_000])
    missing = whole.stat().st_size - 400_000
    frames = 0
    with pytest.raises(SourceError, match=f"breaks off after frame .* of 377: .* {missing} bytes"):
        for _ in open_source(str(path)):
            frames += 1
    assert 0 < frames < 377


def test_a_whole_video_is_not_called_cut_off(assets: Path) -> None:
    with open_source(f"video:{assets / 'videos' / 'car-detection.mp4'}") as source:
        # The frame count that shared/README.md names.
        assert sum(1 for _ in source) == 377


# --- film of the generator


def test_the_rendered_source_gives_the_generators_pictures_with_their_truth() -> None:
    with open_source("synthetic:5:2?size=96x128") as source:
        assert (source.length, source.labels, source.live) == (2, LABELS, False)
        frames = list(source)
    expected = render(5, 1, (96, 128))
    truth = frames[1].truth
    assert isinstance(truth, Detections)
    assert truth.masks is not None
    assert np.array_equal(frames[1].image, expected.image)
    assert np.array_equal(truth.boxes_xyxy, expected.boxes_xyxy)
    assert np.array_equal(truth.class_ids, expected.class_ids)
    assert len(truth.masks) == len(expected.masks)


def test_the_rendered_source_has_no_end_without_a_count() -> None:
    with open_source("synthetic:?size=32x48") as source:
        assert source.length is None
        assert [frame.index for _, frame in zip(range(3), source, strict=False)] == [0, 1, 2]


def test_a_rate_makes_the_rendered_source_live(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("edgewright.runtime.sources.synthetic.time.sleep", slept.append)
    with open_source("synthetic:1:3?size=32x48&fps=0.01") as source:
        assert (source.live, source.fps) == (True, 0.01)
        assert [frame.meta["pos_msec"] for frame in source] == pytest.approx([0, 100_000, 200_000])
    # Frame 0 is due at once, frame 1 after 100 s, frame 2 after 200 s; nothing really slept.
    assert slept == pytest.approx([0, 100, 200], abs=20)


# --- what goes wrong


def broken_sources(folder: Path) -> dict[str, tuple[str, str]]:
    """URI and a piece of the sentence that it must lead to, by case."""
    (folder / "empty").mkdir()
    (folder / "texts").mkdir()
    (folder / "texts" / "readme.txt").write_text("no picture")
    picture(folder / "nested" / "sub" / "a.png")
    (folder / "damaged").mkdir()
    for name in ("a.jpg", "b.png"):
        (folder / "damaged" / name).write_text("no picture")
    (folder / "text.mp4").write_text("no video\n" * 50)
    (folder / "zero.mp4").touch()
    (folder / "damaged.jpg").write_text("no picture")
    film = video(folder / "film.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(film[: len(film) // 2])
    return {
        "missing path": (f"{folder}/nowhere.mp4", "no such file or folder"),
        "nothing": ("", "source is empty"),
        "missing video": (f"video:{folder}/nowhere.mp4", "No such file"),
        "missing images": (f"images:{folder}/nowhere", "no such file or folder"),
        "folder as video": (f"video:{folder}", "directory"),
        "empty folder": (f"{folder}/empty", "empty is empty"),
        "no pictures": (f"{folder}/texts", "no picture is among the 1 file"),
        "only subfolders": (f"{folder}/nested", "subfolders"),
        "glob without match": (f"{folder}/*.gif", "matches no file"),
        "glob of texts": (f"{folder}/texts/*", "no picture is among"),
        "all damaged": (f"{folder}/damaged", "none of its 2 images"),
        "damaged picture": (f"{folder}/damaged.jpg", "damaged"),
        "text as video": (f"{folder}/text.mp4", "no video that OpenCV can decode"),
        "zero bytes": (f"{folder}/zero.mp4", "0 bytes"),
        "cut off before its index": (f"{folder}/cut.mp4", "cut off"),
        "camera by its number": ("0", "camera:0"),
        "missing camera": ("camera:93", "/dev/video93"),
        "not a camera": ("camera:/dev/null", "cannot be opened as a camera"),
    }


CASES = (
    "missing path", "nothing", "missing video", "missing images", "folder as video", "empty folder", "no pictures",
    "only subfolders", "glob without match", "glob of texts", "all damaged", "damaged picture", "text as video",
    "zero bytes", "cut off before its index", "camera by its number", "missing camera", "not a camera",
)  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_bad_source_is_one_clear_error(tmp_path: Path, case: str) -> None:
    sources_by_case = broken_sources(tmp_path)
    assert set(sources_by_case) == set(CASES)
    uri, wanted = sources_by_case[case]
    with pytest.raises(SourceError) as caught, open_source(uri) as source:
        list(source)
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_picture_without_permission_says_so(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    path.chmod(0)
    with pytest.raises(SourceError, match="Permission denied"):
        read_image(path)


@pytest.mark.parametrize(
    ("uri", "wanted"),
    [
        ("vidoe:a.mp4", "did you mean 'video'"),
        ("synthetic:abc", "does not follow synthetic:"),
        ("synthetic:1:0", "COUNT of at least 1"),
        ("synthetic:1:3?sise=4x4", "did you mean 'size'"),
        ("synthetic:1:3?size=640", "HEIGHTxWIDTH"),
        ("synthetic:1:3?size=4x4", "16 to 8192"),
        ("synthetic:1:3?fps=0", "above 0"),
        ("synthetic:1:3?fps=nan", "above 0"),
        ("images:.?sort=no", "has no option 'sort'"),
        ("camera:front", "neither a number nor a device"),
    ],
)
def test_a_wrong_uri_says_what_is_wanted(uri: str, wanted: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_source(uri)
    assert wanted in str(caught.value)


class Unplugged:
    """Stands for a camera that gives two frames and is gone then."""

    def __init__(self) -> None:
        self.left = 2
        self.released = False

    def isOpened(self) -> bool:
        return True

    def get(self, _: int) -> float:
        return 30.0

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        return (True, np.zeros((4, 4, 3), np.uint8)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.released = True


def test_a_camera_that_stops_is_an_error_after_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Unplugged()
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: device)
    frames = 0
    with pytest.raises(SourceError, match="stopped giving frames after 2"), open_source("camera:/dev/null") as source:
        assert (source.live, source.length, source.fps) == (True, None, 30.0)
        for _ in source:
            frames += 1
    assert frames == 2
    assert device.released


@pytest.mark.parametrize("word", plugins.names("edgewright.runtime.sources"))
def test_every_source_refuses_an_unknown_option(word: str) -> None:
    with pytest.raises(UsageError, match="has no option 'colour'"):
        plugins.load("edgewright.runtime.sources", word).from_uri("0?colour=yes")


def test_a_new_source_is_one_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "nothing.py").write_text(
        "from edgewright.runtime.sources import Source\n"
        "class Nothing(Source):\n"
        "    def __init__(self, name): self.name = name\n"
        "    def __iter__(self): return iter(())\n"
        "def from_uri(text): return Nothing(text)\n"
    )
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(tmp_path)])
    source = open_source("nothing://user@host/path?a=b")
    assert isinstance(source, Source)
    assert source.name == "//user@host/path?a=b"


@given(
    st.text(st.characters(exclude_characters="?"), max_size=20),
    st.dictionaries(st.sampled_from("abc"), st.text("xyz1.", max_size=4), min_size=1),
)
def test_options_are_split_from_any_location(location: str, options: dict[str, str]) -> None:
    text = location + "?" + "&".join(f"{key}={value}" for key, value in options.items())
    assert split_options("source x", text, tuple("abc")) == (location, options)
