"""The examples of CONTRIBUTING.md, each dropped into its package as a file and used."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from tests.tiny import blob_image, save_constant_network, tiny_bundle

from edgewright.export.from_onnx import import_onnx
from edgewright.export.request import ExportRequest
from edgewright.pipeline.cli import edgewright
from edgewright.pipeline.datasets import open_dataset
from edgewright.runtime import plugins
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.results import Detections
from edgewright.runtime.sinks import Output, SinkContext, open_sink
from edgewright.runtime.sources import open_source

CHECKOUT = Path(__file__).resolve().parent.parent
TEXT = (CHECKOUT / "CONTRIBUTING.md").read_text()
EXAMPLES = {match[1]: match[2] for match in re.finditer(r"```python\n# (\S+\.py)\n(.*?)```", TEXT, re.DOTALL)}


@pytest.fixture(autouse=True)
def examples(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every example where its first line says; its package finds it there as if it lay in the checkout."""
    folder = tmp_path_factory.mktemp("examples")
    for name, code in EXAMPLES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
        package = importlib.import_module("edgewright." + ".".join(path.relative_to(folder).parts[:-1]))
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(path.parent)])
        monkeypatch.delitem(sys.modules, f"{package.__name__}.{path.stem}", raising=False)
    importlib.invalidate_caches()
    return folder


def test_there_is_an_example_of_every_kind() -> None:
    assert {str(Path(name).parent) for name in EXAMPLES} == {
        "export/families",
        "pipeline/commands",
        "pipeline/datasets",
        "runtime/backends",
        "runtime/nms",
        "runtime/sinks",
        "runtime/sources",
    }


def test_the_examples_are_in_style(examples: Path) -> None:
    ruff = [sys.executable, "-m", "ruff"]
    config = ["--config", str(CHECKOUT / "pyproject.toml"), "--no-cache", str(examples)]
    for command in ([*ruff, "check", *config], [*ruff, "format", "--check", *config]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_the_nms_example_keeps_the_best_of_each_class() -> None:
    suppress = plugins.load("edgewright.runtime.nms", "best_of_class").suppress
    boxes = np.array([[0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]], np.float32)
    kept = suppress(boxes, [0.5, 0.9, 0.7], [1, 1, 0], iou_threshold=0.5)
    assert kept.indices.tolist() == [1, 2]
    assert suppress(boxes, [0.5, 0.9, 0.7], [1, 1, 0], iou_threshold=0.5, class_agnostic=True).indices.tolist() == [1]


def test_the_family_example_makes_a_bundle_that_finds_objects(tmp_path: Path) -> None:
    boxes = np.array([[[0.25, 0.25, 0.5, 0.5], [0, 0, 0.1, 0.1]]])
    scores = np.array([[[0.1, 0.0, 0.9], [0.99, 0.01, 0.0]]])
    source = save_constant_network(tmp_path / "network.onnx", {"boxes": boxes, "scores": scores})
    (tmp_path / "labels.txt").write_text("nut\nbolt\n")
    request = ExportRequest(source=str(source), family="with_background", labels=str(tmp_path / "labels.txt"))
    with open_predictor(import_onnx(request, tmp_path / "bundle"), threads=1) as predictor:
        found = predictor(np.zeros((100, 200, 3), np.uint8))
    assert isinstance(found, Detections)
    np.testing.assert_allclose(found.boxes_xyxy, [[50, 25, 100, 50]], atol=1e-3)
    assert found.class_ids.tolist() == [1]


def test_the_backend_example_runs_on_one_thread(tmp_path: Path) -> None:
    with open_predictor(tiny_bundle(tmp_path), backend="ort_single", threads=2) as predictor:
        assert predictor.settings["threads"] == 1
        assert len(predictor(blob_image())) > 0  # type: ignore[arg-type]


def test_the_source_example_repeats_its_picture(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "picture.png"), blob_image())
    with open_source(f"still:{tmp_path}/picture.png?count=3") as source:
        frames = list(source)
    assert [frame.index for frame in frames] == [0, 1, 2]
    np.testing.assert_array_equal(frames[2].image, blob_image())


def test_the_sink_example_counts_objects(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "picture.png"), blob_image())
    (frame,) = open_source(f"still:{tmp_path}/picture.png?count=1")
    with open_sink(f"counts:{tmp_path}/counts.csv", SinkContext(labels=())) as sink:
        sink.write(Output(frame, Detections.empty(), age_s=0.0, latency_s={}))
    assert (tmp_path / "counts.csv").read_text() == "0,0\n"


def test_the_data_set_example_reads_the_listed_images(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "c.png"):
        cv2.imwrite(str(tmp_path / name), blob_image())
    (tmp_path / "list.txt").write_text("b.png\na.png\n")
    samples = list(open_dataset(f"listed:{tmp_path}/list.txt"))
    assert [sample.path.name for sample in samples if sample.path] == ["b.png", "a.png"]
    assert samples[0].image().shape == blob_image().shape


def test_the_verb_example_prints_the_labels(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path)
    done = CliRunner().invoke(edgewright, ["labels", str(bundle.path)])
    assert done.stdout.splitlines() == list(bundle.spec.labels)
