"""Networks of other trainers, brought in by the recipes that ship and scored on real labelled images.

Every expected figure is that of an independent script (ONNX Runtime, plain NMS, pycocotools) on the same images, unless a
test says otherwise; three tenths of a point are allowed.
"""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgewright.export.labels import load_labels
from edgewright.pipeline.cli import main

TOLERANCE = 0.003


def run(*words: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == 0


def scores(
    assets: Path, folder: Path, recipe: str, data: str, *options: str, network: str | None = None
) -> dict[str, float]:
    source = assets / "models" / f"{network or recipe}.onnx"
    run("export", f"{recipe}.yaml", "--source", source, "-o", folder / "bundle")
    run("evaluate", folder / "bundle", "--data", data, *options, "--json", folder / "report.json")
    return {m["name"]: m["value"] for m in json.loads((folder / "report.json").read_text())["measurements"]}


def coco(assets: Path) -> str:
    folder = assets / "data" / "coco_tiny"
    return f"coco:{folder / 'val2017'}:{folder / 'annotations' / 'instances_val2017.json'}"


@pytest.mark.parametrize(
    ("recipe", "options", "figures"),
    [
        ("yolov8n", (), {"AP": 0.397, "AP50": 0.550}),
        # Scores from 0.01 on, as the reference took them.
        ("ssd_mobilenet_v1", ("--conf", "0.01"), {"AP": 0.234, "AP50": 0.387}),
    ],
)
def test_a_detector_reaches_its_reference(
    assets: Path, tmp_path: Path, recipe: str, options: tuple[str, ...], figures: dict[str, float]
) -> None:
    got = scores(assets, tmp_path, recipe, coco(assets), *options)
    assert {name: got[name] for name in figures} == pytest.approx(figures, abs=TOLERANCE)


def test_fastestdet_is_as_good_as_on_other_images(assets: Path, tmp_path: Path) -> None:
    """An independent script has AP50 0.31 on 158 other images of val2017; a wrong decoding gives next to nothing."""
    assert 0.25 < scores(assets, tmp_path, "fastestdet", coco(assets))["AP50"] < 0.40


def test_boxes_and_masks_of_one_network_reach_their_reference(assets: Path, tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    got = scores(assets, tmp_path, "yolov8n_seg", coco(assets), "--detections", str(found), network="yolov8n-seg")
    assert got["AP"] == pytest.approx(0.394, abs=TOLERANCE)
    assert got["mask-AP"] == pytest.approx(mask_ap(assets, found), abs=1e-6)
    # Of whole-image masks of the same detections, made by resizing the whole prototypes and cropping.
    assert got["mask-AP"] == pytest.approx(0.316, abs=TOLERANCE)


def mask_ap(assets: Path, found: Path) -> float:
    """By pycocotools, from the file."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):
        truth = COCO(str(assets / "data" / "coco_tiny" / "annotations" / "instances_val2017.json"))
        truth.dataset.setdefault("info", {})
        evaluation = COCOeval(truth, truth.loadRes(str(found)), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def test_street_scenes_reach_their_reference(assets: Path, tmp_path: Path) -> None:
    folder = assets / "data" / "camvid_val"
    got = scores(assets, tmp_path, "espnet_camvid", f"masks:{folder / 'images'}:{folder / 'masks'}")
    assert got["mIoU"] == pytest.approx(0.699, abs=TOLERANCE)
    assert sum(name.startswith("IoU/") for name in got) == 11


def test_retinal_vessels_reach_their_reference(assets: Path, tmp_path: Path) -> None:
    for kind, name in (("images", "all_originals.png"), ("masks", "all_groundTruths.png")):
        (tmp_path / kind).mkdir()
        mosaic = cv2.imread(str(assets / "data" / "drive_test" / name), cv2.IMREAD_GRAYSCALE)
        assert mosaic is not None
        for number, tile in enumerate(tiles(np.asarray(mosaic), rows=4, columns=5)):
            cv2.imwrite(str(tmp_path / kind / f"{number:02d}.png"), tile)
    got = scores(assets, tmp_path, "unet_retina", f"masks:{tmp_path / 'images'}:{tmp_path / 'masks'}")
    assert got["Dice"] == got["Dice/vessel"] == pytest.approx(0.817, abs=TOLERANCE)


def tiles(mosaic: Any, *, rows: int, columns: int) -> list[Any]:
    return [tile for band in np.split(mosaic, rows) for tile in np.split(band, columns, axis=1)]


# pycocotools does not know NumPy 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_people_are_found_by_a_network_of_other_classes(assets: Path, tmp_path: Path) -> None:
    """About 0.55 on COCO's images with its objects drawn as PASCAL VOC's classes."""
    masks = tmp_path / "masks"
    masks.mkdir()
    draw_as_voc(assets / "data" / "coco_tiny" / "annotations" / "instances_val2017.json", masks)
    images = assets / "data" / "coco_tiny" / "val2017"
    got = scores(assets, tmp_path, "deeplabv3_mnv2_voc", f"masks:{images}:{masks}")
    assert got["IoU/person"] == pytest.approx(0.55, abs=0.03)


# COCO's name for what VOC calls otherwise.
VOC_NAMES = {
    "airplane": "aeroplane", "motorcycle": "motorbike", "couch": "sofa", "tv": "tvmonitor",
    "potted plant": "pottedplant", "dining table": "diningtable",
}  # fmt: skip


def draw_as_voc(annotations: Path, folder: Path) -> None:
    """A class mask of every image: the objects of VOC's classes, small ones over large ones, crowds unlabelled."""
    from pycocotools import mask as masks

    content, voc = json.loads(annotations.read_text()), load_labels("voc21").labels
    names = {c["id"]: VOC_NAMES.get(c["name"], c["name"]) for c in content["categories"]}
    for image in content["images"]:
        size_hw = image["height"], image["width"]
        ids = np.zeros(size_hw, np.uint8)
        objects = [a for a in content["annotations"] if a["image_id"] == image["id"] and names[a["category_id"]] in voc]
        for annotation in sorted(objects, key=lambda a: -float(a["area"])):
            runs = masks.frPyObjects(annotation["segmentation"], *size_hw)
            whole = masks.decode(masks.merge(runs) if isinstance(runs, list) else runs)
            ids[np.asarray(whole) > 0] = 255 if annotation["iscrowd"] else voc.index(names[annotation["category_id"]])
        cv2.imwrite(str(folder / f"{Path(image['file_name']).stem}.png"), ids)
