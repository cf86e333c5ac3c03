"""Calibration images whose red and blue are exchanged are found out, by a made network and by real ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.tiny import tiny_bundle

from edgewright.calibration.samples import Candidate
from edgewright.pipeline.calibration_images import candidates
from edgewright.pipeline.color_order import SURE, check_color_order, color_order, sureness_of_pixels
from edgewright.pipeline.exporting import export
from edgewright.pipeline.quantizing import quantize
from edgewright.pipeline.recipe import export_request
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import CalibrationError
from edgewright.runtime.results import Image


def blue_pictures(count: int, *, exchanged: bool = False) -> list[Image]:
    """A blue-and-green rectangle each, which the blue blob network calls a nut."""
    pictures = []
    for number in range(count):
        image = np.full((96, 128, 3), 20, np.uint8)
        image[24 : 48 + number % 30, 16 : 50 + number % 40] = (160 + number % 7, 250, 20)
        pictures.append(np.ascontiguousarray(image[:, :, ::-1]) if exchanged else image)
    return pictures


def as_candidates(pictures: list[Image]) -> list[Candidate]:
    return [
        Candidate(name=str(number), sha256=str(number), image=lambda image=image: image)  # type: ignore[misc]
        for number, image in enumerate(pictures)
    ]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("blob"))


def test_pictures_in_the_trained_order_pass(bundle: Bundle) -> None:
    found = color_order(bundle, as_candidates(blue_pictures(12)), backend="ort")
    assert found is not None
    assert found.t > SURE
    assert found.given > found.exchanged
    check_color_order(found, bundle)


def test_exchanged_pictures_are_refused(bundle: Bundle) -> None:
    found = color_order(bundle, as_candidates(blue_pictures(12, exchanged=True)), backend="ort")
    with pytest.raises(
        CalibrationError, match=r"surer of the calibration images with red and blue exchanged .* 12 images"
    ):
        check_color_order(found, bundle)


def test_grey_pictures_say_nothing(bundle: Bundle) -> None:
    grey = [np.repeat(image[:, :, :1], 3, axis=2) for image in blue_pictures(6)]
    assert color_order(bundle, as_candidates(grey), backend="ort") is None


def test_a_quantization_on_exchanged_pictures_ends_before_it_begins(bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(blue_pictures(40, exchanged=True)):
        cv2.imwrite(str(folder / f"{number:02d}.png"), image)
    with pytest.raises(CalibrationError, match="colour order bgr is the wrong way round"):
        quantize(bundle, tmp_path / "out", target="onnxruntime", data=str(folder))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "data"), [("yolox_nano", "coco128/train2017"), ("espnet_camvid", "camvid_val/images")]
)
def test_real_networks_know_their_colors(name: str, data: str, assets: Path, tmp_path: Path) -> None:
    network = str(assets / "models" / f"{name}.onnx")
    bundle = export(export_request(f"{name}.yaml", {}, network=network), tmp_path / "bundle")
    images = candidates(str(assets / "data" / data))[:48]
    found = color_order(bundle, images, backend="ov")
    assert found is not None
    assert found.t > SURE


def test_the_sureness_of_pixels_is_the_mean_probability_of_their_classes() -> None:
    planes = np.zeros((1, 2, 1, 2), np.float32)
    planes[0, 0, 0, 0] = np.log(3)
    assert sureness_of_pixels("logits", planes) == pytest.approx((0.75 + 0.5) / 2)
    probabilities = np.array([[[[0.9, 0.2]], [[0.1, 0.8]]]], np.float32)
    assert sureness_of_pixels("logits", probabilities) == pytest.approx(0.85)
    assert sureness_of_pixels("probability", probabilities[:, :1]) == pytest.approx(0.85)
    assert sureness_of_pixels("class_ids", probabilities[:, :1]) is None
