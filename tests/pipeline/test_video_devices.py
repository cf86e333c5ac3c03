"""Cameras by the kernel's interface, played by a stand-in that packs the structs of linux/videodev2.h."""

import errno
import os
import struct
from pathlib import Path

import pytest

from edgewright.pipeline.doctor.video_devices import video_devices


def request(direction: int, number: int, size: int) -> int:
    """_IOC of asm-generic/ioctl.h for the type 'V': direction (read 2, write 1), size, type and number."""
    return direction << 30 | size << 16 | ord("V") << 8 | number


QUERY, FORMATS, SIZES = request(2, 0, 104), request(3, 2, 64), request(3, 74, 44)
SIZES_OF = {b"MJPG": [(640, 480), (1920, 1080)], b"YUYV": [(640, 480)]}


def webcam(handle: int, asked: int, data: bytearray, *, capabilities: int = 0x84A00001, own: int = 0x04200001) -> None:
    """A UVC camera that gives MJPG and YUYV, as v4l2-ctl lists one."""
    if asked == QUERY:
        data[:] = struct.pack(
            "=16s32s32sIII12x", b"uvcvideo", b"HD Webcam: HD Webcam", b"usb-0000:00", 6, capabilities, own
        )
    elif asked == FORMATS:
        index, kind = struct.unpack_from("=II", data)
        assert kind == 1
        if index >= len(SIZES_OF):
            raise OSError(errno.EINVAL, "Invalid argument")
        struct.pack_into("=I", data, 44, int.from_bytes(list(SIZES_OF)[index], "little"))
    else:
        assert asked == SIZES
        index, code = struct.unpack_from("=II", data)
        sizes = SIZES_OF[code.to_bytes(4, "little")]
        if index >= len(sizes):
            raise OSError(errno.EINVAL, "Invalid argument")
        struct.pack_into("=III", data, 8, 1, *sizes[index])


def metadata_node(handle: int, asked: int, data: bytearray) -> None:
    """The second file of a UVC camera, which gives metadata and no pictures (V4L2_CAP_META_CAPTURE)."""
    webcam(handle, asked, data, own=0x04A00000)


def test_a_camera_is_listed_with_its_formats_and_their_largest_sizes(tmp_path: Path) -> None:
    (tmp_path / "video0").write_bytes(b"")
    (device,) = video_devices(f"{tmp_path}/video*", webcam)
    assert (device.name, device.driver, device.error) == ("HD Webcam: HD Webcam", "uvcvideo", None)
    assert device.formats == {"MJPG": "1920x1080", "YUYV": "640x480"}


def test_files_that_give_no_pictures_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "video1").write_bytes(b"")
    assert video_devices(f"{tmp_path}/video*", metadata_node) == ()


def test_ten_comes_after_two(tmp_path: Path) -> None:
    for number in (10, 2, 0):
        (tmp_path / f"video{number}").write_bytes(b"")
    assert [Path(d.path).name for d in video_devices(f"{tmp_path}/video*", webcam)] == ["video0", "video2", "video10"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_a_camera_of_another_group_is_told_with_the_kernels_word(tmp_path: Path) -> None:
    (tmp_path / "video0").write_bytes(b"")
    (tmp_path / "video0").chmod(0)
    (device,) = video_devices(f"{tmp_path}/video*", webcam)
    assert device.error == os.strerror(errno.EACCES)


def test_a_file_that_is_no_video_device_is_told(tmp_path: Path) -> None:
    (tmp_path / "video0").write_bytes(b"")
    (device,) = video_devices(f"{tmp_path}/video*")
    assert device.error == os.strerror(errno.ENOTTY)
