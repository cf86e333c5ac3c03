"""Image folders, conveyor scenes, and which label of a network means which category."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgewright.pipeline.datasets import BoxDataset, Category, MaskDataset, Sample, open_dataset, synthetic
from edgewright.pipeline.datasets._matching import match_labels
from edgewright.runtime.conveyor import LABELS, LabelledImage, render_scene
from edgewright.runtime.errors import DataError, EdgeError, UsageError
from edgewright.runtime.spec import HeadSpec, ModelSpec, PreprocessSpec


def test_a_plain_folder_gives_its_images_in_natural_order(tmp_path: Path) -> None:
    for name in ("img10.png", "img2.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 6, 3), np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    dataset = open_dataset(str(tmp_path))
    assert [(s.image_id, s.path and s.path.name) for s in dataset] == [(1, "img2.png"), (2, "img10.png")]
    assert next(iter(dataset)).image().shape == (4, 6, 3)
    assert len(dataset.first(1)) == 1
    assert dataset.first(1).digest != dataset.digest
    assert open_dataset(f"folder:{tmp_path}").digest == dataset.digest


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="is empty"):
        open_dataset(str(tmp_path))
    with pytest.raises(DataError, match="there is no such folder"):
        open_dataset(str(tmp_path / "nowhere"))


def test_conveyor_scenes_carry_the_labels_that_the_generator_knows() -> None:
    dataset = open_dataset("synthetic:5:2")
    assert isinstance(dataset, BoxDataset)
    truth = dataset.coco_ground_truth()
    assert [c.name for c in dataset.categories] == list(LABELS)
    for index, sample in enumerate(dataset):
        scene = render_scene(5, index)
        assert np.array_equal(sample.image(), scene.image)
        mine = [a for a in truth["annotations"] if a["image_id"] == sample.image_id]
        sides = scene.boxes_xyxy[:, 2:] - scene.boxes_xyxy[:, :2]
        assert [a["bbox"] for a in mine] == np.hstack([scene.boxes_xyxy[:, :2], sides]).tolist()
        assert [a["category_id"] for a in mine] == scene.class_ids.tolist()
        assert [a["area"] for a in mine] == [mask.pixels.sum() for mask in scene.masks]
    assert len({a["id"] for a in truth["annotations"]} - {0}) == len(truth["annotations"])


def test_the_digest_of_many_conveyor_scenes_draws_few_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def draw(seed: int, index: int) -> LabelledImage:
        drawn.append(index)
        return render_scene(seed, index)

    monkeypatch.setattr(synthetic, "render_scene", draw)
    assert open_dataset("synthetic:3:1000000").digest
    assert drawn == [0, 1, 2, 3]


def test_the_digest_of_conveyor_scenes_sees_another_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_dataset("synthetic:3:5").digest
    monkeypatch.setattr(synthetic, "render_scene", lambda seed, index: render_scene(seed + 1, index))
    assert open_dataset("synthetic:3:5").digest != before


def test_conveyor_scenes_differ_by_seed_and_count_only() -> None:
    digests = [open_dataset(uri).digest for uri in ("synthetic:1:2", "synthetic:1:2", "synthetic:2:2", "synthetic:1:1")]
    assert digests[0] == digests[1] == open_dataset("synthetic:1:2").first(9).digest
    assert digests[3] == open_dataset("synthetic:1:2").first(1).digest
    assert len(set(digests)) == 3


@pytest.mark.parametrize("uri", ["synthetic:", "synthetic:1", "synthetic:1:0", "synthetic:-1:2", "synthetic:1:2:3"])
def test_wrong_seed_or_count_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match="wanted synthetic:SEED:COUNT"):
        open_dataset(uri)


@dataclass(frozen=True, eq=False)
class Names(BoxDataset):
    """A data set of category names alone."""

    names: dict[int, str]
    used: frozenset[int] | None = None
    uri = "names"
    digest = ""

    @property
    def categories(self) -> tuple[Category, ...]:
        return tuple(Category(number, name) for number, name in self.names.items())

    @property
    def annotated(self) -> frozenset[int]:
        return frozenset(self.names) if self.used is None else self.used

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Sample]:
        return iter(())

    def first(self, count: int) -> "Names":
        return self

    def coco_ground_truth(self) -> dict[str, Any]:
        return {}


def network(*labels: str, ids: tuple[int, ...] | None = None) -> ModelSpec:
    return ModelSpec(
        name="net",
        task="detect",
        labels=labels,
        category_ids=ids,
        inputs=(),
        outputs=(),
        preprocess=PreprocessSpec(size_hw=(8, 8)),
        head=HeadSpec(kind="dense", outputs={}),
    )


def test_labels_are_matched_by_name_whatever_their_order() -> None:
    assert match_labels(network("nut", "bolt"), Names({3: "bolt", 5: "nut"})) == (5, 3)


def test_spelling_of_the_same_class_does_not_matter() -> None:
    spec = network("Dining_Table", "aeroplane", "sofa", "tvmonitor", "motorbike", "potted plant")
    data = Names({1: "dining table", 2: "airplane", 3: "couch", 4: "tv", 5: "motorcycle", 6: "pottedplant"})
    assert match_labels(spec, data) == (1, 2, 3, 4, 5, 6)


def test_labels_that_the_data_lack_stay_unmatched() -> None:
    spec = network("background", "bolt", "hat", ids=(0, 1, 26))
    assert match_labels(spec, Names({1: "bolt"})) == (None, 1, None)


def test_a_category_without_objects_needs_no_label() -> None:
    assert match_labels(network("bolt"), Names({1: "bolt", 2: "nut"}, used=frozenset({1}))) == (1,)


def test_a_category_with_objects_needs_a_label() -> None:
    with pytest.raises(DataError, match="1 of 2 categories of names have no label in net, the first is 2 'nut'"):
        match_labels(network("bolt", "gear"), Names({1: "bolt", 2: "nut"}))


def test_labels_shifted_by_one_are_refused() -> None:
    """A background class that was counted or not: the names are all there, but stand at the wrong ids."""
    data = Names({1: "bolt", 2: "nut", 3: "gear"})
    with pytest.raises(DataError, match="label 0 'bolt' has category id 0, which is nothing in the data"):
        match_labels(network("bolt", "nut", "gear", ids=(0, 1, 2)), data)
    with pytest.raises(DataError, match=r"3 labels of net name other .* 'gear' has category id 1, which is 'bolt'"):
        match_labels(network("gear", "bolt", "nut", ids=(1, 2, 3)), data)


def test_coco_labels_match_the_real_annotations(assets: Path) -> None:
    from edgewright.export.labels import load_labels

    folder = assets / "data" / "coco_tiny"
    data = open_dataset(f"coco:{folder / 'val2017'}:{folder / 'annotations' / 'instances_val2017.json'}")
    assert isinstance(data, BoxDataset)
    expected = {category.id for category in data.categories}
    for name in ("coco80", "coco91"):
        labels = load_labels(name)
        matched = match_labels(network(*labels.labels, ids=labels.category_ids), data)
        assert {number for number in matched if number is not None} == expected


def test_conveyor_scenes_carry_masks_of_objects_and_of_classes() -> None:
    dataset = open_dataset("synthetic:5:2")
    assert isinstance(dataset, BoxDataset)
    assert isinstance(dataset, MaskDataset)
    assert [c.name for c in dataset.classes] == ["background", *LABELS]
    for sample in dataset:
        scene = render_scene(5, sample.image_id)
        wanted = np.zeros(scene.image.shape[:2], np.uint8)
        for class_id, mask in zip(scene.class_ids, scene.masks, strict=True):
            wanted[mask.paste((wanted.shape[0], wanted.shape[1]))] = class_id + 1
        np.testing.assert_array_equal(dataset.class_mask(sample.image_id), wanted)
        own = [a for a in dataset.coco_ground_truth()["annotations"] if a["image_id"] == sample.image_id]
        for annotation, mask in zip(own, scene.masks, strict=True):
            counts, size_hw = annotation["segmentation"]["counts"], annotation["segmentation"]["size"]
            runs = np.repeat(np.arange(len(counts)) % 2, counts).reshape(size_hw[::-1]).T
            np.testing.assert_array_equal(runs, mask.paste((size_hw[0], size_hw[1])))
