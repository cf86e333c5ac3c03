"""Instance masks through `evaluate`, on a network whose two objects are known."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.tiny import save_constant_network

from edgewright.export.from_onnx import import_onnx
from edgewright.export.request import ExportRequest
from edgewright.pipeline.datasets import open_dataset
from edgewright.pipeline.evaluate import evaluate
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import DataError

LEFT, RIGHT = [4, 8, 28, 56], [36, 8, 60, 56]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """It always sees a bolt in the left box, of which the upper half is its mask, and a nut that fills the right box."""
    folder = tmp_path_factory.mktemp("bundle")
    upper = np.where(np.arange(16) < 8, 5.0, -5.0)[:, None].repeat(16, axis=1)
    outputs = {
        "boxes": np.array([[LEFT, RIGHT]]),
        "scores": np.array([[[0.9, 0.0], [0.0, 0.8]]]),
        "coefficients": np.array([[[1.0, 0.0], [0.0, 1.0]]]),
        "prototypes": np.stack([upper, np.full((16, 16), 5.0)])[None],
    }
    source = save_constant_network(folder / "net.onnx", outputs)
    (folder / "labels.txt").write_text("bolt\nnut\n")
    request = ExportRequest(
        source=str(source), family="generic", labels=str(folder / "labels.txt"), head="prototypes",
        box_format="xyxy_pixels", color="rgb", resize="stretch", scale=1.0,
    )  # fmt: skip
    return import_onnx(request, folder / "bundle")


def rectangle(x1: int, y1: int, x2: int, y2: int) -> list[list[int]]:
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def data(folder: Path, *, left: Any, right: Any) -> str:
    (folder / "images").mkdir()
    cv2.imwrite(str(folder / "images" / "1.png"), np.zeros((64, 64, 3), np.uint8))
    boxes = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in (LEFT, RIGHT)]
    content = {
        "images": [{"id": 1, "file_name": "1.png", "width": 64, "height": 64}],
        "categories": [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}],
        "annotations": [
            {
                "id": n, "image_id": 1, "category_id": n, "bbox": box, "area": 1152, "iscrowd": 0,
                **({} if mask is None else {"segmentation": mask}),
            }
            for n, box, mask in ((1, boxes[0], left), (2, boxes[1], right))
        ],
    }  # fmt: skip
    (folder / "labels.json").write_text(json.dumps(content))
    return f"coco:{folder / 'images'}:{folder / 'labels.json'}"


def test_boxes_and_masks_are_scored_apart(bundle: Bundle, tmp_path: Path) -> None:
    """The bolt's mask covers half of the labelled one: right up to an overlap of 0.50 and wrong from 0.55 on."""
    uri = data(tmp_path, left=rectangle(*LEFT), right=rectangle(*RIGHT))
    report = evaluate(bundle, open_dataset(uri), detections_path=tmp_path / "found.json")
    got = {m.name: m.value for m in report.measurements}
    assert got["AP"] == got["AP/bolt"] == got["AP/nut"] == pytest.approx(1.0)
    assert got["mask-AP/nut"] == pytest.approx(1.0)
    assert got["mask-AP/bolt"] == pytest.approx(0.1)
    assert [got["mask-AP50"], got["mask-AP75"]] == pytest.approx([1.0, 0.5])
    assert got["mask-AP-medium"] == got["mask-AP"] == pytest.approx(0.55)


def test_the_detections_file_holds_masks_that_pycocotools_reads(bundle: Bundle, tmp_path: Path) -> None:
    from pycocotools import mask as masks

    uri = data(tmp_path, left=rectangle(*LEFT), right=rectangle(*RIGHT))
    evaluate(bundle, open_dataset(uri), detections_path=tmp_path / "found.json")
    bolt, nut = json.loads((tmp_path / "found.json").read_text())
    # Prototypes of 16 cells: the mask ends halfway between cells 7 and 8, at row 32.
    assert masks.toBbox(bolt["segmentation"]).tolist() == [4, 8, 24, 24]
    assert masks.area(nut["segmentation"]) == 24 * 48


def test_labels_without_masks_are_scored_by_boxes_alone(bundle: Bundle, tmp_path: Path) -> None:
    report = evaluate(bundle, open_dataset(data(tmp_path, left=None, right=None)))
    assert not [m for m in report.measurements if m.name.startswith("mask-")]
    assert "AP and AR are those of the boxes; the labels have no masks to score" in report.notes


def no_predictor(*_: Any, **__: Any) -> None:
    raise AssertionError("nothing may run before everything is checked")


def test_a_missing_mask_is_named_before_anything_runs(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewright.pipeline.evaluate.open_predictor", no_predictor)
    with pytest.raises(DataError, match="annotation 2 of image 1 has no segmentation, others have"):
        evaluate(bundle, open_dataset(data(tmp_path, left=rectangle(*LEFT), right=None)))
