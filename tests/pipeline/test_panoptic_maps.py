"""Panoptic data sets, and panoptic networks through `evaluate`, on a tiny network whose answers are known."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.tiny import save_constant_network

from edgewright.pipeline.datasets import PanopticDataset, open_dataset
from edgewright.pipeline.datasets.synthetic import ConveyorDataset
from edgewright.pipeline.evaluate import evaluate, evaluation_settings
from edgewright.pipeline.gate import gate
from edgewright.pipeline.per_image import load_per_image
from edgewright.pipeline.policy import Policy
from edgewright.runtime.bundle import Bundle, Manifest, Provenance, describe_file, load_bundle, seal
from edgewright.runtime.errors import DataError, UsageError
from edgewright.runtime.spec import HeadSpec, ModelSpec, PostprocessSpec, PreprocessSpec, TensorSpec

LABELS = ("bolt", "nut", "belt")
# A bolt in the upper left quarter, a nut in the lower right quarter, belt elsewhere.
QUARTERS = np.array([[1, 1, 3, 3], [1, 1, 3, 3], [3, 3, 2, 2], [3, 3, 2, 2]])


def network(folder: Path, labels: tuple[str, ...] = LABELS) -> Bundle:
    """A network that gives QUARTERS for every picture, in three queries."""
    masks = np.stack([np.where(QUARTERS == n, 9.0, -9.0) for n in (1, 2, 3)])[None]
    classes = np.full((1, 3, 4), -9.0)
    classes[0, range(3), range(3)] = 9.0
    folder.mkdir(parents=True)
    save_constant_network(folder / "model.onnx", {"masks": masks, "classes": classes}, shape=(1, 3, 4, 4))
    return three_queries(folder, "quarters", labels, side=4)


def three_queries(folder: Path, name: str, labels: tuple[str, ...], *, side: int) -> Bundle:
    """A bundle of `folder`/model.onnx, whose outputs are `masks` [1, 3, side, side] and `classes` [1, 3, 4]; the first two labels
    are things."""
    outputs = {"masks": (1, 3, side, side), "classes": (1, 3, 4)}
    spec = ModelSpec(
        name=name,
        task="panoptic",
        labels=labels,
        inputs=(TensorSpec(name="images", shape=(1, 3, side, side), dtype="float32"),),
        outputs=tuple(TensorSpec(name=name, shape=shape, dtype="float32") for name, shape in outputs.items()),
        preprocess=PreprocessSpec(size_hw=(side, side), resize="stretch"),
        head=HeadSpec(kind="panoptic", outputs={"mask_logits": "masks", "class_logits": "classes"}, thing_ids=(0, 1)),
        postprocess=PostprocessSpec(conf_threshold=0.5),
    )
    entry = describe_file(folder, "model.onnx", role="model", precision="fp32")
    made = Provenance(source="test", family="test", exporter="test")
    seal(folder, Manifest(spec=spec, files=(entry,), provenance=made))
    return load_bundle(folder)


def content(images: int = 1) -> dict[str, Any]:
    segments = [{"id": 300, "category_id": 7, "iscrowd": 0}, {"id": 70000, "category_id": 9, "iscrowd": 0}]
    return {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 4, "width": 4} for n in range(1, images + 1)],
        "annotations": [
            {"image_id": n, "file_name": f"{n}.png", "segments_info": segments} for n in range(1, images + 1)
        ],
        "categories": [
            {"id": 7, "name": "Bolt", "isthing": 1},
            {"id": 8, "name": "nut", "isthing": 1},
            {"id": 9, "name": "belt", "isthing": 0},
        ],
    }


def labelled(folder: Path, labels: dict[str, Any], ids: Any = None) -> str:
    """A data set whose segments 300 and 70000 are a bolt and the belt, and whose last row is unlabelled."""
    if ids is None:
        ids = np.where(QUARTERS == 1, 300, 70000)
        ids[3] = 0
    colors = np.stack([np.asarray(ids) // 256**2, np.asarray(ids) // 256 % 256, np.asarray(ids) % 256], axis=-1)
    for name in ("images", "png"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for image in labels["images"]:
        cv2.imwrite(str(folder / "images" / image["file_name"]), np.zeros((4, 4, 3), np.uint8))
        cv2.imwrite(str(folder / "png" / image["file_name"]), colors.astype(np.uint8))
    (folder / "labels.json").write_text(json.dumps(labels))
    return f"panoptic:{folder / 'images'}:{folder / 'labels.json'}:{folder / 'png'}"


def opened(uri: str) -> PanopticDataset:
    dataset = open_dataset(uri)
    assert isinstance(dataset, PanopticDataset)
    return dataset


def test_a_panoptic_bundle_is_scored_by_its_segments(tmp_path: Path) -> None:
    """The bolt is exact; the belt has 6 of its 8 labelled pixels and none too many; the nut lies half in void, not more."""
    report = evaluate(network(tmp_path / "bundle"), open_dataset(labelled(tmp_path, content())))
    got = {m.name: m.value for m in report.measurements}
    summary = {"PQ": 1.75 / 3, "SQ": 1.75 / 3, "RQ": 2 / 3, "PQ-things": 0.5, "PQ-stuff": 0.75}
    assert got == pytest.approx({**summary, "PQ/Bolt": 1.0, "PQ/nut": 0.0, "PQ/belt": 0.75})
    assert report.settings["evaluate"]["conf_threshold"] == 0.5


def test_a_segment_for_more_than_half_in_void_is_no_false_alarm(tmp_path: Path) -> None:
    ids = np.where(QUARTERS == 1, 300, 70000)
    ids[2:, 2:] = [[70000, 0], [0, 0]]
    report = evaluate(network(tmp_path / "bundle"), open_dataset(labelled(tmp_path, content(), ids)))
    assert "PQ/nut" not in {m.name for m in report.measurements}
    assert "1 of 3 classes appear nowhere and do not count: nut" in report.notes


def test_the_gate_judges_panoptic_quality_by_intervals(tmp_path: Path) -> None:
    data, bundle = open_dataset(labelled(tmp_path, content(images=12))), network(tmp_path / "bundle")
    report = evaluate(bundle, data, per_image_path=tmp_path / "report.json.npz")
    assert report.per_image is not None
    kept = load_per_image(tmp_path / "report.json", report.per_image)
    policy = Policy(allowed_drop={"PQ": 0.01, "PQ/Bolt": 0.01}, resamples=100)
    verdict = gate(report, report, policy, per_image=(kept, kept))
    assert [finding.interval for finding in verdict.findings] == [(0.0, 0.0)] * 2


def test_pixels_of_labels_that_the_data_lack_belong_to_no_segment(tmp_path: Path) -> None:
    bundle = network(tmp_path / "bundle", labels=("bolt", "gear", "belt"))
    labels = content()
    del labels["categories"][1]
    report = evaluate(bundle, open_dataset(labelled(tmp_path, labels)))
    assert {m.name for m in report.measurements if "/" in m.name} == {"PQ/Bolt", "PQ/belt"}
    assert "1 labels that the data do not have are not scored: gear" in report.notes
    assert {m.name for m in evaluate(bundle, open_dataset(labelled(tmp_path, content()))).measurements} >= {"PQ/Bolt"}
    used = content()
    used["annotations"][0]["segments_info"][0]["category_id"] = 8
    with pytest.raises(DataError, match=r"1 of 2 categories of .* have no label in quarters, the first is 8 'nut'"):
        evaluate(bundle, open_dataset(labelled(tmp_path, used)))


def test_maps_need_segments_and_have_no_detections(tmp_path: Path) -> None:
    bundle = network(tmp_path / "bundle")
    uri = labelled(tmp_path, content())
    with pytest.raises(UsageError, match="has no segments to compare with; give panoptic:IMAGES_DIR"):
        evaluate(bundle, open_dataset(str(tmp_path / "images")))
    with pytest.raises(UsageError, match="gives panoptic maps, of which there are no detections"):
        evaluate(bundle, open_dataset(uri), detections_path=tmp_path / "found.json")


def test_only_panoptic_maps_are_scored_at_the_threshold_of_the_bundle() -> None:
    defaults = PostprocessSpec(conf_threshold=0.4)
    assert evaluation_settings(defaults, task="panoptic").conf_threshold == 0.4
    assert evaluation_settings(defaults, task="panoptic", conf=0.1).conf_threshold == 0.1
    assert evaluation_settings(defaults, task="instance").conf_threshold == 0.001


def test_segment_numbers_are_made_of_the_colors(tmp_path: Path) -> None:
    """panopticapi, rgb2id: R + 256 G + 256 * 256 B."""
    dataset = opened(labelled(tmp_path, content()))
    labels = dataset.panoptic_labels(1)
    assert np.unique(labels.segment_ids).tolist() == [0, 300, 70000]
    assert labels.segments == ((300, 7, False), (70000, 9, False))
    assert [(c.id, c.name, c.is_thing) for c in dataset.segment_classes] == [
        (7, "Bolt", True),
        (8, "nut", True),
        (9, "belt", False),
    ]


def test_the_digest_covers_pictures_segments_and_classes(tmp_path: Path) -> None:
    first = opened(labelled(tmp_path / "a", content(images=2)))
    assert first.digest == opened(labelled(tmp_path / "elsewhere", content(images=2))).digest
    other = content(images=2)
    other["annotations"][1]["segments_info"][0] = {"id": 300, "category_id": 8}
    assert first.digest != opened(labelled(tmp_path / "b", other)).digest
    assert first.first(1).digest == opened(labelled(tmp_path / "c", content(images=1))).digest


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda c: c["categories"][0].pop("isthing"), "category 7 'Bolt' has isthing None, wanted 0 or 1"),
        (lambda c: c["annotations"].pop(), "is empty"),
        (lambda c: c["annotations"].append(c["annotations"][0]), "wanted one annotation for every image"),
        (lambda c: c["annotations"][0].pop("segments_info"), r"annotations\[0\] \(image 1\) has no list segments_info"),
        (lambda c: c["annotations"][0]["segments_info"][0].update(id=0), "a segment has id 0, wanted a number from 1"),
        (lambda c: c["annotations"][0]["segments_info"][0].update(category_id=5), "segment 300 has category_id 5"),
        (lambda c: c["annotations"][0]["segments_info"][0].update(iscrowd=2), "segment 300 has iscrowd 2, wanted 0"),
        (lambda c: c["annotations"][0]["segments_info"][1].update(id=300), "lists a segment twice"),
        (lambda c: c["annotations"][0].update(file_name=None), "has file_name None, wanted that of its PNG file"),
        (lambda c: c["annotations"][0].update(file_name="9.png"), "1 of 1 files of labels.json are not in this folder"),
    ],
)
def test_a_defect_of_the_file_is_named(tmp_path: Path, spoil: Any, sentence: str) -> None:
    labels = content()
    spoil(labels)
    with pytest.raises(DataError, match=sentence):
        open_dataset(labelled(tmp_path, labels))


def test_a_defect_of_a_png_file_is_named(tmp_path: Path) -> None:
    uri = labelled(tmp_path, content(), ids=np.full((4, 4), 5))
    with pytest.raises(DataError, match=r"1.png: holds segment 5, which the annotation of image 1 in labels.json"):
        opened(uri).panoptic_labels(1)
    path = tmp_path / "png" / "1.png"
    cv2.imwrite(str(path), np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match="no picture of three colours"):
        opened(uri).panoptic_labels(1)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match="damaged, cut off or no picture"):
        opened(uri).panoptic_labels(1)
    cv2.imwrite(str(path), np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(DataError, match="its labels are 2x2, the image 4x4"):
        evaluate(network(tmp_path / "bundle"), open_dataset(uri))


def test_a_missing_part_of_the_uri_is_named(tmp_path: Path) -> None:
    uri = labelled(tmp_path, content())
    with pytest.raises(UsageError, match="needs two folders and a file; write panoptic:IMAGES_DIR"):
        open_dataset("panoptic:images:labels.json")
    with pytest.raises(DataError, match="there is no such folder"):
        open_dataset(uri.replace("/png", "/pgn"))
    with pytest.raises(DataError, match="there is no such annotation file"):
        open_dataset(uri.replace("labels.json", "lables.json"))
    colon = labelled(tmp_path / "a:b", content())
    assert len(open_dataset(colon)) == 1


def test_every_pixel_of_a_drawn_scene_belongs_to_a_part_or_to_the_background() -> None:
    dataset = open_dataset("synthetic:3:4")
    assert isinstance(dataset, ConveyorDataset)
    drawn = [label["image_id"] for label in dataset.coco_ground_truth()["annotations"]]
    for sample in dataset:
        labels = dataset.panoptic_labels(sample.image_id)
        of_segment = {number: category for number, category, _ in labels.segments}
        mask = dataset.class_mask(sample.image_id)
        np.testing.assert_array_equal(np.vectorize(of_segment.get)(labels.segment_ids), mask)
        assert sum(category > 0 for category in of_segment.values()) == drawn.count(sample.image_id)
    assert [c.name for c in dataset.segment_classes if not c.is_thing] == ["background"]
