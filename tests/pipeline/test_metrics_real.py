"""Scores on real images and annotations against scikit-learn, torchmetrics and the published definitions."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.pipeline.test_metrics_boundary import by_erosion
from tests.pipeline.test_metrics_panoptic import by_pixels

from edgewright.pipeline.class_maps import class_table, score_maps
from edgewright.pipeline.datasets import MaskDataset, open_dataset
from edgewright.pipeline.datasets.coco import CocoDataset
from edgewright.pipeline.metrics.boundary import boundary_width
from edgewright.pipeline.metrics.coco_masks import with_masks
from edgewright.pipeline.metrics.panoptic import LabelledSegment, count_segments
from edgewright.pipeline.metrics.semantic import IGNORED
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.results import SemanticMap

IMAGES = 6
Street = tuple[Any, Any, dict[str, float]]


@pytest.fixture(scope="module")
def street(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Street:
    """True and found classes of all pixels of some street scenes, one below the other, the boundaries, and the measurements."""
    from edgewright.export.from_onnx import import_onnx
    from edgewright.export.request import ExportRequest

    labels = tmp_path_factory.mktemp("street") / "labels.txt"
    labels.write_text("\n".join([*(f"class {k}" for k in range(11)), "void"]))
    request = ExportRequest(
        source=str(assets / "models" / "espnet_camvid.onnx"),
        family="generic",
        labels=str(labels),
        head="semantic",
        color="bgr",
        resize="stretch",
        scale=1.0,
        mean=(110.331, 108.409, 105.033),
        std=(72.126 * 255, 72.691 * 255, 69.904 * 255),
        ignore_id=11,
    )
    bundle = import_onnx(request, labels.parent / "bundle")
    folder = assets / "data" / "camvid_val"
    dataset = open_dataset(f"masks:{folder / 'images'}:{folder / 'masks'}").first(IMAGES)
    assert isinstance(dataset, MaskDataset)
    with open_predictor(bundle, threads=1) as predictor:
        scored = score_maps(predictor, dataset, class_table(bundle.spec, dataset))
        maps = [predictor(sample.image()) for sample in dataset]
    found = np.stack([m.class_ids for m in maps if isinstance(m, SemanticMap)]).astype(np.int64)
    truth = np.stack([dataset.class_mask(sample.image_id) for sample in dataset]).astype(np.int64)
    truth[truth == 11] = IGNORED
    return truth, found, {m.name: m.value for m in scored.measurements}


def test_class_maps_of_street_scenes_score_as_scikit_learn_says(street: Street) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    truth, found, got = street
    scored = truth != IGNORED
    classes = [k for k in range(11) if (truth[scored] == k).any() or (found[scored] == k).any()]
    iou = metrics.jaccard_score(truth[scored], found[scored], labels=classes, average=None)
    dice = metrics.f1_score(truth[scored], found[scored], labels=classes, average=None)
    assert 0.4 < got["mIoU"] < 0.8
    assert got["mIoU"] == pytest.approx(iou.mean())
    assert got["Dice"] == pytest.approx(dice.mean())
    assert got["pixel-accuracy"] == pytest.approx(metrics.accuracy_score(truth[scored], found[scored]))
    assert [got[f"IoU/class {k}"] for k in classes] == pytest.approx(iou.tolist())


def test_boundaries_of_street_scenes_are_those_of_the_published_code(
    street: Street,
) -> None:
    truth, found, got = street
    width = boundary_width((truth.shape[1], truth.shape[2]))
    assert width == 12
    found = np.where(truth == IGNORED, IGNORED, found)
    for k in (0, 3, 8):
        pairs = [(by_erosion(t == k, width), by_erosion(f == k, width)) for t, f in zip(truth, found, strict=True)]
        both, either = (sum(int(of(*pair).sum()) for pair in pairs) for of in (np.logical_and, np.logical_or))
        assert got[f"boundary-IoU/class {k}"] == pytest.approx(both / either)


def panoptic_of(
    annotations: list[Any], numbers: dict[int, int], size_hw: tuple[int, int], shift: int
) -> tuple[Any, Any]:
    """The masks of an image, each over those before it, moved to the right; crowds only where nothing is moved."""
    from faster_coco_eval.core import mask as coding

    ids: npt.NDArray[np.int32] = np.zeros(size_hw, np.int32)
    segments = []
    for number, annotation in enumerate(annotations, start=1):
        mask = np.roll(np.asarray(coding.decode(annotation["segmentation"]), bool), shift, axis=1)
        ids[mask] = number
        crowd = bool(annotation["iscrowd"]) and not shift
        segments.append(LabelledSegment(number, numbers[annotation["category_id"]], crowd))
    there = set(np.unique(ids).tolist())
    return ids, [segment for segment in segments if segment.segment_id in there]


def test_segments_of_photographs_are_counted_as_panopticapi_counts_them(assets: Path) -> None:
    """Real masks, crowds and unlabelled pixels, and the same masks moved by some pixels as what was found."""
    folder = assets / "data" / "coco_tiny"
    dataset = open_dataset(f"coco:{folder / 'val2017'}:{folder / 'annotations' / 'instances_val2017.json'}")
    assert isinstance(dataset, CocoDataset)
    truth = with_masks(dataset.coco_ground_truth())
    assert truth is not None
    classes = sorted({a["category_id"] % 3 for a in truth["annotations"]})
    numbers = {category["id"]: category["id"] % 3 for category in truth["categories"]}
    counted = 0.0
    crowded = [a["image_id"] for a in truth["annotations"] if a["iscrowd"]][:2]
    for image in [i for i in truth["images"] if i["id"] in crowded] + truth["images"][:6]:
        # COCO has one crowd of a class in an image.
        annotations, seen = [], set()
        for a in (a for a in truth["annotations"] if a["image_id"] == image["id"]):
            if a["iscrowd"] and numbers[a["category_id"]] in seen:
                continue
            seen |= {numbers[a["category_id"]]} if a["iscrowd"] else set()
            annotations.append(a)
        size_hw = (image["height"], image["width"])
        sides = [panoptic_of(annotations, numbers, size_hw, shift) for shift in (0, 6)]
        got = count_segments(*sides[0], *sides[1], classes=len(classes))
        np.testing.assert_allclose(got, by_pixels(sides[0], sides[1]), atol=1e-9)
        counted += got[:, 1].sum()
    assert counted > 5
