"""Semantic networks and instance masks through `evaluate`, on tiny networks whose answers are known."""

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper
from tests.tiny import save_graph

from edgewright.export.from_onnx import import_onnx
from edgewright.export.request import ExportRequest
from edgewright.pipeline.commands.evaluate import command
from edgewright.pipeline.datasets import Category, MaskDataset, open_dataset
from edgewright.pipeline.datasets.masks import MaskFolder
from edgewright.pipeline.evaluate import evaluate
from edgewright.pipeline.gate import gate
from edgewright.pipeline.metrics.curves import read_curves
from edgewright.pipeline.per_image import load_per_image
from edgewright.pipeline.policy import Policy
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import DataError, UsageError

# The network calls a pixel by its strongest colour.
COLORS = {"red": (0, 0, 200), "green": (0, 200, 0), "blue": (200, 0, 0)}


def strongest_color(folder: Path, labels: str = "red\ngreen\nblue", **keys: Any) -> Bundle:
    """A network whose logits are the channels of an RGB picture."""
    weights = numpy_helper.from_array(np.eye(3, dtype=np.float32)[:, :, None, None], "weights")
    nodes = [helper.make_node("Conv", ["images", "weights"], ["planes"])]
    source = save_graph(folder / "net.onnx", nodes, [weights], ("images", [1, 3, 8, 8]), [("planes", [1, 3, 8, 8])])
    (folder / "labels.txt").write_text(labels)
    request = ExportRequest(
        source=str(source), family="generic", labels=str(folder / "labels.txt"),
        **{"head": "semantic", "color": "rgb", "resize": "stretch", "scale": 1.0, **keys},
    )  # fmt: skip
    return import_onnx(request, folder / "bundle")


def data(folder: Path, mask: Any, colors: tuple[str, ...] = ("red", "green")) -> str:
    """One picture of 8 x 8: the left half in the first colour, the right half in the second."""
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, :4], image[:, 4:] = (COLORS[color] for color in colors)
    for name, content in (("images", image), ("masks", np.asarray(mask, np.uint8))):
        (folder / name).mkdir(exist_ok=True)
        cv2.imwrite(str(folder / name / "a.png"), content)
    return f"masks:{folder / 'images'}:{folder / 'masks'}"


def halves(left: int, right: int) -> Any:
    mask = np.full((8, 8), left)
    mask[:, 4:] = right
    return mask


def values(bundle: Bundle, uri: str) -> dict[str, float]:
    return {m.name: m.value for m in evaluate(bundle, open_dataset(uri)).measurements}


def test_a_semantic_bundle_is_scored_by_its_class_maps(tmp_path: Path) -> None:
    mask = halves(0, 1)
    mask[:, 0] = 1
    report = evaluate(strongest_color(tmp_path), open_dataset(data(tmp_path, mask)))
    got = {m.name: m.value for m in report.measurements}
    assert got["IoU/red"] == 24 / 32
    assert got["IoU/green"] == 32 / 40
    assert got["mIoU"] == pytest.approx((24 / 32 + 32 / 40) / 2)
    assert got["pixel-accuracy"] == 56 / 64
    assert report.bundle.task == "semantic"
    assert report.data is not None
    assert report.data.images == 1
    assert "1 of 3 classes appear nowhere and do not count: blue" in report.notes


def test_labels_may_have_the_data_sets_own_numbers(tmp_path: Path) -> None:
    bundle = strongest_color(tmp_path, "red\t24\ngreen\t7\nblue\t255")
    assert values(bundle, data(tmp_path, halves(24, 7)))["mIoU"] == 1.0
    assert values(bundle, data(tmp_path, halves(24, 255), ("red", "blue")))["mIoU"] == 1.0


def test_unlabelled_pixels_are_not_scored_and_counted(tmp_path: Path) -> None:
    bundle = strongest_color(tmp_path, ignore_id=99)
    mask = halves(0, 1)
    mask[:2], mask[2:4] = 255, 99
    mask[7, 7] = 0
    report = evaluate(bundle, open_dataset(data(tmp_path, mask)))
    assert {m.name: m.value for m in report.measurements}["pixel-accuracy"] == 31 / 32
    assert "50.0% of the pixels are marked as not to be scored" in report.notes


def test_a_label_of_unlabelled_pixels_is_no_class(tmp_path: Path) -> None:
    bundle = strongest_color(tmp_path, "red\ngreen\nvoid", ignore_id=2)
    mask = halves(0, 2)
    got = values(bundle, data(tmp_path, mask, ("red", "blue")))
    del got["cross-entropy"]
    one = ("mIoU", "Dice", "pixel-accuracy", "IoU/red", "Dice/red", "boundary-IoU", "boundary-IoU/red")
    assert got == dict.fromkeys(one, 1.0)


def test_the_background_counts_for_iou_but_not_for_dice(tmp_path: Path) -> None:
    mask = halves(0, 1)
    mask[:, 0] = 1
    got = values(strongest_color(tmp_path, background_index=0), data(tmp_path, mask))
    assert got["Dice"] == pytest.approx(2 * 32 / (32 + 40))
    assert got["mIoU"] == pytest.approx((24 / 32 + 32 / 40) / 2)


def test_a_number_without_a_label_is_refused(tmp_path: Path) -> None:
    bundle = strongest_color(tmp_path)
    with pytest.raises(
        DataError, match=r"a.png: its mask holds 3, 9, which no label of net stands for \(3 labels, numbered from 0\)"
    ):
        values(bundle, data(tmp_path, halves(3, 9)))


def test_one_class_stored_as_255_is_not_silently_ignored(tmp_path: Path) -> None:
    bundle = strongest_color(tmp_path, "background\nvessel", class_map=(0, 1))
    with pytest.raises(DataError, match="export the bundle with labels that say so: vessel<TAB>255"):
        values(bundle, data(tmp_path, halves(0, 255)))


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the mask is 8x4, the image 8x8"):
        values(strongest_color(tmp_path), data(tmp_path, halves(0, 1)[:4]))


def test_names_that_disagree_with_the_data_are_refused(tmp_path: Path) -> None:
    class Named(MaskFolder):
        @property
        def classes(self) -> tuple[Category, ...]:
            return Category(0, "Red"), Category(1, "yellow")

    folder = open_dataset(data(tmp_path, halves(0, 1)))
    assert isinstance(folder, MaskFolder)
    named: MaskDataset = Named(folder.images_dir, folder.masks_dir, folder.pairs)
    with pytest.raises(DataError, match="calls class 1 'yellow', net calls it 'green'"):
        evaluate(strongest_color(tmp_path), named)


def test_maps_need_masks_and_have_no_detections(tmp_path: Path) -> None:
    bundle, uri = strongest_color(tmp_path), data(tmp_path, halves(0, 1))
    with pytest.raises(UsageError, match="has no class masks to compare with; give masks:IMAGES_DIR:MASKS_DIR"):
        evaluate(bundle, open_dataset(str(tmp_path / "images")))
    with pytest.raises(UsageError, match="gives class maps, of which there are no detections"):
        evaluate(bundle, open_dataset(uri), detections_path=tmp_path / "found.json")


def test_the_command_prints_a_column_for_every_score_of_a_class(tmp_path: Path) -> None:
    bundle = strongest_color(tmp_path)
    result = CliRunner().invoke(command, [str(bundle.path), "--data", data(tmp_path, halves(0, 2))])
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.output.splitlines()]
    assert ["class", "IoU", "Dice", "boundary-IoU"] in lines
    assert ["red", "1.0000", "1.0000", "1.0000"] in lines
    assert ["mIoU", "0.3333"] in lines


def test_cross_entropy_is_that_of_the_interpolated_logits(tmp_path: Path) -> None:
    """Red is sure of the left half by 200 nats, and as sure of the right one, a half of whose pixels are green."""
    mask = halves(0, 0)
    mask[:4, 4:] = 1
    got = values(strongest_color(tmp_path), data(tmp_path, mask, ("red", "red")))
    assert got["cross-entropy"] == pytest.approx(200 * 16 / 64, abs=1e-6)


def test_the_gate_judges_class_maps_by_intervals(tmp_path: Path) -> None:
    uri = data(tmp_path, halves(0, 1))
    for number in range(11):
        for name in ("images", "masks"):
            shutil.copy(tmp_path / name / "a.png", tmp_path / name / f"{number}.png")
    bundle = strongest_color(tmp_path)
    report = evaluate(bundle, open_dataset(uri), per_image_path=tmp_path / "report.json.npz")
    assert report.per_image is not None
    kept = load_per_image(tmp_path / "report.json", report.per_image)
    names = ("mIoU", "Dice", "pixel-accuracy", "boundary-IoU", "IoU/red")
    verdict = gate(
        report, report, Policy(allowed_drop=dict.fromkeys(names, 0.01), resamples=100), per_image=(kept,) * 2
    )
    assert [finding.interval for finding in verdict.findings] == [(0.0, 0.0)] * len(names)


def test_the_confusion_of_pixels_can_be_drawn(tmp_path: Path) -> None:
    bundle, uri = strongest_color(tmp_path), data(tmp_path, halves(0, 2))
    report = evaluate(bundle, open_dataset(uri), per_image_path=tmp_path / "report.json.npz")
    (tmp_path / "report.json").write_text(report.model_dump_json())
    drawn = read_curves(tmp_path / "report.json").confusion
    assert drawn is not None
    assert drawn.labels == ("red", "green", "blue")
    assert drawn.counts.tolist() == [[32, 0, 0], [0, 0, 0], [0, 32, 0]]
