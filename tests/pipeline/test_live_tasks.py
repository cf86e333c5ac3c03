"""Masks and segments scored while a run goes on, and alarms that are raised in its midst, from the pictures to the report."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from onnx import helper, numpy_helper
from tests.pipeline.test_panoptic_maps import three_queries
from tests.tiny import save_graph

from edgewright.export.from_onnx import import_onnx
from edgewright.export.request import ExportRequest
from edgewright.pipeline.datasets import open_dataset
from edgewright.pipeline.evaluate import evaluate
from edgewright.pipeline.live import source_watch
from edgewright.pipeline.live.labelled import LabelledSource
from edgewright.pipeline.live.opening import WatchOptions, open_watch
from edgewright.pipeline.live.source_watch import SourceWatch
from edgewright.pipeline.run import report, run
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.loop import RunStatistics
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.results import Frame

pytest.importorskip("faster_coco_eval")
IMAGES = 24
PATIENCE_S = 300.0
WATCHED = "mask-AP"


def scored_alike(bundle: Bundle, data: str, folder: Path, names: tuple[str, ...]) -> None:
    """Hold every name that a run over all pictures says against what `evaluate` says of them at the run's thresholds."""
    base = evaluate(bundle, open_dataset(data), postprocess=bundle.spec.postprocess)
    (folder / "base.json").write_text(base.model_dump_json())
    values = {name: found.value for name in names if (found := base.measurement(name)) is not None}
    options = WatchOptions(baseline=str(folder / "base.json"), fail_on_regression=True)
    content = watched_run(bundle, LabelledSource(open_dataset(data), bundle.spec.task), options)
    since_start = content["live_accuracy"]["since_start"]
    assert {name: one["value"] for name, one in since_start.items()} == pytest.approx(values, abs=1e-6)
    assert set(since_start) == set(names)
    # What was compared is neither all right nor all wrong, so that a mistake would show.
    compared = {name: one for name, one in since_start.items() if one["baseline"] is not None}
    for name, one in compared.items():
        assert 0.05 < values[name] < 0.95
        assert one["baseline"] == pytest.approx(values[name])
        low, high = one["interval"]
        assert low <= one["value"] <= high
        assert one["change"] == pytest.approx(0, abs=1e-9)
    assert (content["frames"], content["alarms"], content["error"]) == (IMAGES, [], None)


def watched_run(bundle: Bundle, source: LabelledSource, options: WatchOptions, *sinks: str) -> dict[str, Any]:
    """The report of a run to the end of the source."""
    statistics = RunStatistics()
    with open_predictor(bundle, threads=1) as predictor, open_watch(bundle, source, predictor, options) as watch:
        run(source, predictor, sinks, statistics=statistics, newest=False, watch=watch)
        watch.close()
        return report(bundle, source, predictor.settings, statistics, None, watch)


def blue_halves(folder: Path) -> Bundle:
    """An instance network without training: a bolt in each half of the picture that is blue enough, its mask what is blue there."""
    weights = np.zeros((1, 3, 1, 1), np.float32)
    weights[0, 2] = 0.1
    pad = np.full((1, 2, 1), -9, np.float32)
    initializers = [
        numpy_helper.from_array(np.array([[[0, 0, 32, 64], [32, 0, 64, 64]]], np.float32), "corners"),
        numpy_helper.from_array(weights, "blue"),
        numpy_helper.from_array(np.array([-15], np.float32), "least"),
        numpy_helper.from_array(np.zeros((1, 2, 1), np.float32), "nought"),
        numpy_helper.from_array(pad, "never"),
        numpy_helper.from_array(np.array([1, 2, 1], np.int64), "rows"),
    ]
    nodes = [
        helper.make_node("AveragePool", ["images"], ["cells"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["cells", "blue", "least"], ["prototypes"]),
        helper.make_node("AveragePool", ["prototypes"], ["halves"], kernel_shape=[32, 16], strides=[32, 16]),
        helper.make_node("Reshape", ["halves", "rows"], ["sums"]),
        helper.make_node("Concat", ["sums", "never", "never"], ["logits"], axis=2),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("Add", ["corners", "nought"], ["boxes"]),
        helper.make_node("Exp", ["nought"], ["coefficients"]),
    ]
    shapes = {"boxes": [1, 2, 4], "scores": [1, 2, 3], "coefficients": [1, 2, 1], "prototypes": [1, 1, 32, 32]}
    source = save_graph(folder / "net.onnx", nodes, initializers, ("images", [1, 3, 64, 64]), list(shapes.items()))
    (folder / "labels.txt").write_text("bolt\nnut\nwasher\n")
    request = ExportRequest(
        source=str(source), family="generic", labels=str(folder / "labels.txt"), head="prototypes",
        box_format="xyxy_pixels", color="rgb", resize="stretch", scale=1.0,
    )  # fmt: skip
    return import_onnx(request, folder / "bundle")


def blue_things(folder: Path) -> str:
    """Pictures with a blue thing in each half; the labelled mask of one is smaller or larger than it, or there is none."""
    random, records, labels = np.random.default_rng(4), list[dict[str, Any]](), list[dict[str, Any]]()
    (folder / "images").mkdir()
    for number in range(1, IMAGES + 1):
        image = np.full((64, 64, 3), 20, np.uint8)
        for left in (0, 32):
            x1, y1, y2 = left, int(random.integers(0, 6)), int(random.integers(52, 64))
            image[y1:y2, x1 : left + 32] = (250, 20, 20)
            x2, y2 = left + int(random.integers(16, 33)), y2 - int(random.integers(0, 10))
            if random.random() < 0.9:
                labels.append(
                    {"id": len(labels) + 1, "image_id": number, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1],
                     "area": (x2 - x1) * (y2 - y1), "iscrowd": 0, "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]]}
                )  # fmt: skip
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
        records.append({"id": number, "file_name": f"{number}.png", "height": 64, "width": 64})
    content = {"images": records, "annotations": labels, "categories": [{"id": 1, "name": "bolt"}]}
    (folder / "labels.json").write_text(json.dumps(content))
    return f"coco:{folder / 'images'}:{folder / 'labels.json'}"


def test_masks_of_all_frames_score_as_evaluate_scores_them(tmp_path: Path) -> None:
    scored_alike(blue_halves(tmp_path), blue_things(tmp_path), tmp_path, ("AP", "AP50", "mask-AP", "mask-AP50"))


def strongest_segments(folder: Path) -> Bundle:
    """A panoptic network without training: three queries, each of which claims the pixels of its colour."""
    folder.mkdir()
    classes = np.full((1, 3, 4), -9, np.float32)
    classes[0, range(3), range(3)] = 9
    initializers = [
        numpy_helper.from_array(np.eye(3, dtype=np.float32)[:, :, None, None], "planes"),
        numpy_helper.from_array(np.full(3, -0.5, np.float32), "least"),
        numpy_helper.from_array(classes, "known"),
        numpy_helper.from_array(np.zeros(1, np.float32), "nought"),
    ]
    nodes = [
        helper.make_node("Conv", ["images", "planes", "least"], ["masks"]),
        helper.make_node("Add", ["known", "nought"], ["classes"]),
    ]
    outputs: list[tuple[str, list[Any]]] = [("masks", [1, 3, 8, 8]), ("classes", [1, 3, 4])]
    save_graph(folder / "model.onnx", nodes, initializers, ("images", [1, 3, 8, 8]), outputs)
    return three_queries(folder, "colours", ("bolt", "nut", "belt"), side=8)


def coloured_segments(folder: Path) -> str:
    """Pictures of a red bolt and a green nut on a blue belt, with labels that are cut short; now and then a part is not labelled."""
    random, images, annotations = np.random.default_rng(6), list[dict[str, Any]](), list[dict[str, Any]]()
    for name in ("images", "png"):
        (folder / name).mkdir()
    for number in range(1, IMAGES + 1):
        ids = np.full((8, 8), 3, np.uint8)
        for part, left in ((1, 0), (2, 4)):
            ids[int(random.integers(0, 3)) : 6, left : left + int(random.integers(2, 5))] = part
        image = np.array([(0, 0, 0), (0, 0, 250), (0, 250, 0), (250, 0, 0)], np.uint8)[ids]
        ids[: int(random.integers(0, 4))] = 3
        labelled = [part for part in (1, 2, 3) if (ids == part).any() and not (part == 2 and number % 4 == 0)]
        ids[~np.isin(ids, labelled)] = 0
        # COCO's segment ids: red + 256 green + 65536 blue.
        cv2.imwrite(str(folder / "png" / f"{number}.png"), np.stack([ids * 0, ids * 0, ids], axis=-1))
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
        images.append({"id": number, "file_name": f"{number}.png", "height": 8, "width": 8})
        segments = [{"id": part, "category_id": part, "iscrowd": 0} for part in labelled]
        annotations.append({"image_id": number, "file_name": f"{number}.png", "segments_info": segments})
    categories = [
        {"id": number, "name": name, "isthing": int(number < 3)}
        for number, name in ((1, "bolt"), (2, "nut"), (3, "belt"))
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "labels.json").write_text(json.dumps(content))
    return f"panoptic:{folder / 'images'}:{folder / 'labels.json'}:{folder / 'png'}"


def test_segments_of_all_frames_score_as_evaluate_scores_them(tmp_path: Path) -> None:
    scored_alike(strongest_segments(tmp_path / "bundle"), coloured_segments(tmp_path), tmp_path, ("PQ", "SQ", "RQ"))


class Lamp(LabelledSource):
    """The pictures of a data set again and again: as they are, then in the dark until an alarm is raised, then as they are until it
    is cleared. `went_dark` and `came_back` are the first frames of the changes; it gives up when nothing happens for too long."""

    def __init__(self, data: str, window: int) -> None:
        super().__init__(open_dataset(data), "instance")
        self.length = None
        self._window, self._deadline = window, time.monotonic() + PATIENCE_S
        self.watch: SourceWatch | None = None
        self.went_dark = self.came_back = 0
        self._left = IMAGES

    def __iter__(self) -> Iterator[Frame]:
        known = list(super().__iter__())
        for index in count():
            phase = self._phase(index)
            if phase == "over" or time.monotonic() > self._deadline:
                return
            frame = known[index % len(known)]
            shown = frame.image // 4 if phase == "dark" else frame.image
            yield replace(frame, image=shown, index=index, time_s=time.monotonic())
            # Leaves the processor to whoever looks.
            time.sleep(0.002)

    def _phase(self, index: int) -> str:
        assert self.watch is not None
        events = [event.raised for event in tuple(self.watch.events) if event.what == WATCHED]
        if events == [True, False]:
            # A few frames more, one of which tells it.
            self._left -= 1
            return "bright" if self._left > 0 else "over"
        if events == [True]:
            self.came_back = self.came_back or index
        elif not self.went_dark and self._is_known(index):
            self.went_dark = index
        return "dark" if self.went_dark and not self.came_back else "bright"

    def _is_known(self, index: int) -> bool:
        """Whether whole windows have been looked at while all was well."""
        window = self.watch.status()["live_accuracy"]["window"] if self.watch is not None else {}
        return index > 4 * self._window and WATCHED in window and window[WATCHED]["frames"] == self._window


def test_an_alarm_is_raised_once_it_gets_dark_and_cleared_once_there_is_light_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(source_watch, "_EVERY_S", 0.01)
    bundle, data, window = blue_halves(tmp_path), blue_things(tmp_path), 2 * IMAGES
    base = evaluate(bundle, open_dataset(data), postprocess=bundle.spec.postprocess)
    (tmp_path / "base.json").write_text(base.model_dump_json())
    options = WatchOptions(window=window, baseline=str(tmp_path / "base.json"))
    source, statistics, lines = Lamp(data, window), RunStatistics(), tmp_path / "run.jsonl"
    with open_predictor(bundle, threads=1) as predictor, open_watch(bundle, source, predictor, options) as watch:
        assert isinstance(watch, SourceWatch)
        source.watch, watch.share = watch, 1.0
        run(source, predictor, [f"jsonl:{lines}"], statistics=statistics, newest=False, watch=watch)
        watch.close()
        status = watch.status()
    raised, cleared = (event for event in watch.events if event.what == WATCHED)
    assert (raised.kind, raised.raised, cleared.raised) == ("accuracy", True, False)
    # Dark frames must fill enough of the window first; it is back when bright ones do, long before the run ends.
    assert 0 < source.went_dark < raised.frame <= source.came_back + 10
    assert source.came_back < cleared.frame < statistics.frames
    assert raised.value < raised.limit
    assert f"accuracy regressed: {WATCHED} {raised.value:.3f}" in caplog.text
    told = [(json.loads(line)["frame"], json.loads(line).get("alarms", [])) for line in lines.read_text().splitlines()]
    # What the very last look finds, no frame tells.
    alarms_told = [alarm for _, alarms in told for alarm in alarms]
    assert alarms_told == status["alarm_events"][: len(alarms_told)]
    assert raised.record() in alarms_told
    assert cleared.record() in alarms_told
    assert next(frame for frame, alarms in told if alarms) >= min(event.frame for event in watch.events)
    # The drop is over, and the run is still one in which an alarm was raised.
    assert WATCHED not in status["alarms"]
    assert watch.regressed
