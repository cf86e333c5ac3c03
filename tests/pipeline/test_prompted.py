"""Promptable bundles on the command line: run, evaluate, benchmark, verify, inspect."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.tiny import tiny_bundle
from tests.tiny_prompted import bright_boxes, bright_in_box_bundle

from edgewright.pipeline.cli import main
from edgewright.pipeline.datasets import open_dataset
from edgewright.pipeline.evaluate import evaluate
from edgewright.pipeline.per_image import read_side
from edgewright.pipeline.verify import verify
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import DataError, UsageError

Call = Callable[..., tuple[int, str, str]]
BOXES = {1: [(16, 24, 56, 64), (72, 32, 120, 88)], 2: [(40, 20, 100, 76)]}


@pytest.fixture(scope="module", name="bundle")
def bundle_fixture(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bright_in_box_bundle(tmp_path_factory.mktemp("prompted") / "bundle")


@pytest.fixture(name="call")
def call_fixture(capsys: pytest.CaptureFixture[str], bundle: Bundle) -> Call:
    def call(verb: str, *words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([verb, str(bundle.path), *words])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call


@pytest.fixture(scope="module", name="data")
def data_fixture(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Bright rectangles as a COCO data set; half of the second one's mask is not labelled, and there is a crowd."""
    folder = tmp_path_factory.mktemp("data")
    annotations: list[dict[str, Any]] = []
    for image_id, boxes in BOXES.items():
        cv2.imwrite(str(folder / f"{image_id}.png"), bright_boxes(boxes))
        for x1, y1, x2, y2 in boxes:
            middle = (x1 + x2) // 2 if len(annotations) == 1 else x2
            ring = [x1, y1, middle, y1, middle, y2, x1, y2]
            annotations.append(_annotation(len(annotations) + 1, image_id, [x1, y1, x2 - x1, y2 - y1], ring))
    annotations.append({**_annotation(9, 2, [0, 0, 128, 96], [0, 0, 128, 0, 128, 96, 0, 96]), "iscrowd": 1})
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 128, "height": 96} for i in BOXES],
        "categories": [{"id": 3, "name": "plate"}, {"id": 5, "name": "tile"}],
        "annotations": annotations,
    }
    (folder / "labels.json").write_text(json.dumps(content))
    return f"coco:{folder}:{folder / 'labels.json'}"


def _annotation(number: int, image_id: int, box: list[int], ring: list[int]) -> dict[str, Any]:
    category = 5 if number == 3 else 3
    area = box[2] * box[3]
    return {"id": number, "image_id": image_id, "category_id": category, "bbox": box, "area": area, "iscrowd": 0,
            "segmentation": [ring]}  # fmt: skip


def test_run_draws_the_masks_that_prompts_ask_for_and_times_encoding_and_decoding(call: Call, tmp_path: Path) -> None:
    image = bright_boxes(BOXES[1])
    cv2.imwrite(str(tmp_path / "one.png"), image)
    words = ("--source", str(tmp_path / "one.png"), "--sink", f"images:{tmp_path / 'drawn'}", "--sink", "jsonl:-")
    status, out, _ = call("run", *words, "--prompt", "box:10,20,60,70", "--prompt", "box:55%,30%,95%,95%")
    assert status == 0
    line = json.loads(out.splitlines()[0])
    boxes = np.array([found["box"] for found in line["detections"]])
    assert np.abs(boxes - BOXES[1]).max() <= 2
    assert {found["label"] for found in line["detections"]} == {"object"}
    assert {"prepare", "encode", "decode", "finish"} <= set(line["latency_ms"])
    assert "infer" not in line["latency_ms"]
    (file,) = (tmp_path / "drawn").iterdir()
    changed = np.abs(np.asarray(cv2.imread(str(file)), int) - image).max(axis=2) > 20
    assert changed[40:60, 25:50].all()
    assert not changed[60:90, 5:10].any()


@pytest.mark.parametrize(
    ("prompts", "complaint"),
    [
        ((), "finds what it is pointed at; give a prompt such as point:320,240"),
        (("point:500,10",), "the prompt 500,10 lies outside the image, which is 128 wide and 96 high"),
        (("box:50,50,20,80",), "has no area"),
        (("point:5",), "wanted point:X,Y or box:X1,Y1,X2,Y2"),
        (("point:1,1+point:2,2+point:3,3+point:4,4+point:5,5",), "this bundle has 4"),
    ],
)
def test_run_refuses_prompts_in_one_sentence(
    call: Call, tmp_path: Path, prompts: tuple[str, ...], complaint: str
) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), bright_boxes(BOXES[1]))
    words = [word for prompt in prompts for word in ("--prompt", prompt)]
    status, _, err = call("run", "--source", str(tmp_path / "one.png"), *words)
    assert status == 2
    assert complaint in err
    assert "Traceback" not in err


def test_evaluate_gives_the_mean_overlap_with_the_labelled_masks(
    call: Call, bundle: Bundle, data: str, tmp_path: Path
) -> None:
    status, out, _ = call("evaluate", "--data", data, "--json", str(tmp_path / "report.json"))
    assert status == 0
    assert "box-mIoU" in out
    report = json.loads((tmp_path / "report.json").read_text())
    values = {m["name"]: m["value"] for m in report["measurements"]}
    # Of three objects two are covered but for the edge of the coarse grid, of one just the half is labelled.
    assert values["box-mIoU"] == pytest.approx((1 + 0.5 + 1) / 3, abs=0.07)
    assert values["box-mIoU/tile"] == pytest.approx(1, abs=0.1)
    assert values["box-mIoU/plate"] == pytest.approx(0.75, abs=0.07)
    assert values["box-best-mIoU"] >= values["box-mIoU"]
    assert report["settings"]["evaluate"]["prompts"] == "box"
    _, per_image = read_side([tmp_path / "report.json"])
    assert per_image is not None
    scores = per_image.scores(["box-mIoU", "box-mIoU/tile"])
    assert scores.values(np.array([1, 1])).tolist() == pytest.approx([values["box-mIoU"], values["box-mIoU/tile"]])
    assert scores.values(np.array([0, 1]))[0] == pytest.approx(values["box-mIoU/tile"])
    assert scores.support().tolist() == [2, 1]


def test_evaluate_on_rendered_scenes_points_into_the_middle_of_every_object(bundle: Bundle) -> None:
    report = evaluate(bundle, open_dataset("synthetic:4:3"), threads=1, prompts="center")
    value = report.measurement("center-mIoU")
    assert value is not None
    # This network reads a box and finds none; the alternatives show all that is bright.
    assert value.value == 0
    best = report.measurement("center-best-mIoU")
    assert best is not None
    assert 0 < best.value < 0.5


def test_evaluate_refuses_what_does_not_go_together(bundle: Bundle, data: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="masks without a class"):
        evaluate(bundle, open_dataset(data), detections_path=tmp_path / "found.json")
    with pytest.raises(UsageError, match="takes no prompts"):
        evaluate(tiny_bundle(tmp_path), open_dataset(data), prompts="box")
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "1.png"), bright_boxes([]))
    with pytest.raises(UsageError, match="no objects to point at"):
        evaluate(bundle, open_dataset(str(images)))
    content = json.loads(Path(data.rsplit(":", 1)[1]).read_text())
    bare = [{key: value for key, value in one.items() if key != "segmentation"} for one in content["annotations"]]
    (tmp_path / "boxes.json").write_text(json.dumps({**content, "annotations": bare}))
    with pytest.raises(DataError, match="boxes but no masks"):
        evaluate(bundle, open_dataset(f"coco:{data.split(':')[1]}:{tmp_path / 'boxes.json'}"))


def test_benchmark_times_encoding_and_decoding_apart(call: Call, tmp_path: Path) -> None:
    words = ("--seconds", "0", "--iterations", "3", "--warmup", "1", "--json", str(tmp_path / "report.json"))
    status, _, _ = call("benchmark", *words)
    assert status == 0
    report = json.loads((tmp_path / "report.json").read_text())
    values = {m["name"]: m["value"] for m in report["measurements"]}
    assert {"latency.encode.p50", "latency.decode.p50", "latency.end_to_end.p50", "cold_start"} <= set(values)
    assert "latency.infer.p50" not in values
    parts = [values[f"latency.{stage}.mean"] for stage in ("prepare", "encode", "decode", "finish")]
    assert sum(parts) == pytest.approx(values["latency.end_to_end.mean"])
    assert report["settings"]["benchmark"]["prompts"] == "point:50%,50%"


def test_verify_checks_the_outputs_of_every_graph(call: Call, bundle: Bundle) -> None:
    checks = {check.tensor: check.passed for check in verify(bundle, threads=1)}
    names = ("input:images", "output:image_embedding", "output:masks", "output:quality")
    assert checks == dict.fromkeys(names, True)
    status, out, _ = call("verify")
    assert status == 0
    assert "output:masks: agrees" in out


def test_inspect_shows_every_graph_and_its_file(call: Call) -> None:
    status, out, _ = call("inspect")
    assert status == 0
    assert "mask_decoder: image_embedding float32 [1, 1, 32, 32]; points float32 [1, 4, 2]" in out
    assert "image_encoder.onnx (model, fp32 for any," in out
    assert "mask_decoder.onnx (model, fp32 for any, graph mask_decoder," in out
