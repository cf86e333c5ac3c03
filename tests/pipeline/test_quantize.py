import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from edgewright.calibration.network import opset_of
from edgewright.calibration.plan import Plan
from edgewright.export.from_onnx import import_onnx
from edgewright.export.request import ExportRequest
from edgewright.pipeline.build import build
from edgewright.pipeline.calibration_images import candidates, feeds_of
from edgewright.pipeline.cli import main
from edgewright.pipeline.datasets import open_dataset
from edgewright.pipeline.lint.graphs import graphs_of
from edgewright.pipeline.quantizing import Quantized, quantize
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.stages import Outcome
from edgewright.pipeline.verify import verify
from edgewright.runtime.bundle import Bundle, load_bundle
from edgewright.runtime.errors import BundleError, CalibrationError, UsageError
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.tensorrt.plan import plan_build
from edgewright.runtime.tensorrt.targets import find_target

CALIBRATION, SCORED = "synthetic:11:32", "synthetic:12:12"
ONE = (Plan(collector="percentile"),)


@pytest.fixture(scope="module")
def conveyor(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Bundle:
    source = checkout / "configs" / "reference" / "conveyor_yolox.onnx"
    request = ExportRequest(source=str(source), family="yolox", labels="conveyor")
    return import_onnx(request, tmp_path_factory.mktemp("float") / "bundle")


def quantized(bundle: Bundle, output: Path, **options: Any) -> Quantized:
    chosen: dict[str, Any] = {"target": "openvino", "data": CALIBRATION, "images": 32, "plans": ONE, "max_drop": 0.9}
    return quantize(bundle, output, **{**chosen, **options})


@pytest.fixture(scope="module")
def in_int8(conveyor: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    """Scored by a function of the user's own, since speed on a busy machine decides nothing here."""
    output = tmp_path_factory.mktemp("int8") / "bundle"
    return quantized(conveyor, output, target="tensorrt", evaluation=open_dataset(SCORED))


def test_quantization_for_tensorrt_keeps_its_budget_and_says_so(in_int8: Quantized) -> None:
    result = {entry.precision: entry for entry in in_int8.report.precisions}
    assert in_int8.promoted
    assert in_int8.report.metric == "AP"
    assert result["int8"].drop is not None
    assert result["int8"].drop < 0.05
    assert result["int8"].interval is not None
    assert result["int8"].size_mib < 0.4 * result["fp32"].size_mib
    assert result["int8"].ratio is None


def test_the_bundle_holds_both_dialects_and_their_reference(in_int8: Quantized) -> None:
    files = {(f.name, f.target, f.dialect) for f in in_int8.bundle.files if f.precision == "int8"}
    assert files == {
        ("tensorrt/int8_weak.onnx", "trt", "weak"),
        ("tensorrt/int8_strong.onnx", "trt", "strong"),
        ("onnxruntime/int8.onnx", "ort", None),
    }
    audit = in_int8.report.audit
    assert in_int8.bundle.manifest.provenance.calibration_sha256 == audit.digest
    assert audit.count == 32
    stored = json.loads((in_int8.bundle.path / "calibration" / "report.json").read_text())
    assert stored["audit"]["files"] == [list(file) for file in audit.files]


def test_a_version_that_makes_fp16_by_a_flag_is_given_a_graph_that_it_reads(in_int8: Quantized) -> None:
    """JetPack 5.1 reads operator sets up to 17, and the exported graph may be newer."""
    old = find_target("jetpack5.1")
    assert plan_build(in_int8.bundle, old, precision="fp16").model == "tensorrt/fp32_weak.onnx"
    assert plan_build(in_int8.bundle, find_target("trt11.4.1"), precision="fp32").model == "model.onnx"
    checked = {graph.name: graph for graph in graphs_of(in_int8.bundle.path, old, None)}
    assert checked.keys() == {"tensorrt/fp32_weak.onnx", "tensorrt/int8_weak.onnx"}
    (by_flag,) = graphs_of(in_int8.bundle.path, old, "fp16")
    assert (by_flag.name, by_flag.precision) == ("tensorrt/fp32_weak.onnx", "fp16")
    model = onnx.load(str(in_int8.bundle.path / by_flag.name))
    assert opset_of(model) == 17


def test_the_quantized_model_runs_verifies_and_has_golden_tensors_of_its_own(in_int8: Quantized) -> None:
    bundle = load_bundle(in_int8.bundle.path)
    assert all(check.passed for check in verify(bundle, backend="ort", precision="int8"))
    assert all(check.passed for check in verify(bundle, backend="ort", precision="fp32"))
    with pytest.raises(BundleError, match="no golden tensors for int8 on backend 'ov'"):
        verify(bundle, backend="ov", precision="int8")
    with open_predictor(bundle, backend="ort", precision="int8") as predictor:
        assert predictor.settings["precision"] == "int8"


def test_calibration_feeds_are_what_the_device_feeds(conveyor: Bundle) -> None:
    """The bundle's own pre-processing: colour order, scale and letterbox cannot differ from those of the camera."""
    images = tuple(candidates("synthetic:5:2"))
    (first, *_) = feeds_of(conveyor, images)
    with open_predictor(conveyor) as predictor:
        wanted, _ = predictor.prepare(images[0].image())
        np.testing.assert_array_equal(first()["images"], wanted["images"])


def test_frames_that_a_run_recorded_are_calibration_images(conveyor: Bundle, tmp_path: Path) -> None:
    rendered = candidates("synthetic:5:3")
    (tmp_path / "shown").mkdir()
    for number, image in enumerate(rendered):
        cv2.imwrite(str(tmp_path / "shown" / f"{number}.png"), image.image())
    words = ["--source", f"{tmp_path}/shown", "--sink", f"record:{tmp_path}/seen?format=png", "--threads", "1"]
    with pytest.raises(SystemExit) as ended:
        main(["run", str(conveyor.path), *words])
    assert ended.value.code == 0
    recorded = candidates(f"replay:{tmp_path}/seen")
    assert len({image.sha256 for image in recorded}) == 3
    for got, wanted in zip(recorded, rendered, strict=True):
        np.testing.assert_array_equal(got.image(), wanted.image())


def test_a_score_of_the_users_own_decides(conveyor: Bundle, tmp_path: Path) -> None:
    asked: list[str] = []

    def score(bundle: Bundle, precision: str) -> float:
        asked.append(precision)
        return {"fp32": 0.9, "fp16": 0.9, "int8": 0.5}[precision]

    result = quantized(conveyor, tmp_path / "out", target="tensorrt", score=score, max_drop=0.01)
    assert not result.promoted
    assert result.report.metric == "your score"
    assert "loses more than 1.00 points: the best 40.00" in result.report.reason
    assert {file.precision for file in result.bundle.files if file.role == "model"} == {"fp32", "fp16"}
    assert set(asked) == {"fp32", "fp16", "int8"}


def test_without_labels_the_agreement_with_the_float_model_is_the_score(conveyor: Bundle, tmp_path: Path) -> None:
    report = quantized(conveyor, tmp_path / "out", target="tensorrt").report
    assert report.metric == "agreement"
    assert report.evaluation is None
    assert report.precisions[2].score is not None
    assert 0.5 < report.precisions[2].score < 1.0


def test_images_that_are_scored_on_are_refused(conveyor: Bundle, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="calibration images are scored on as well"):
        quantized(conveyor, tmp_path / "out", evaluation=open_dataset("synthetic:11:4"))
    assert not (tmp_path / "out").exists()


def test_eight_images_are_refused(conveyor: Bundle, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="8 calibration images, at least 32 are wanted"):
        quantized(conveyor, tmp_path / "out", data="synthetic:11:8")


def test_a_corrupt_image_in_a_folder_is_named(conveyor: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(40):
        cv2.imwrite(str(folder / f"{number:02d}.png"), rng.integers(0, 256, (16, 16, 3), np.uint8))
    damaged = (folder / "20.png").read_bytes()
    (folder / "20.png").write_bytes(damaged[: len(damaged) // 2])
    with pytest.raises(CalibrationError, match=r"calibration image 20\.png cannot be read"):
        quantized(conveyor, tmp_path / "out", data=str(folder))


def test_an_interrupted_run_goes_on_where_it_was(conveyor: Bundle, tmp_path: Path) -> None:
    def stop(text: str) -> None:
        if text.startswith("score"):
            raise KeyboardInterrupt

    options: dict[str, Any] = {"target": "tensorrt", "work": tmp_path / "work"}
    with pytest.raises(KeyboardInterrupt):
        quantized(conveyor, tmp_path / "out", tell=stop, **options)
    assert not (tmp_path / "out").exists()
    said: list[str] = []
    quantized(conveyor, tmp_path / "out", tell=said.append, **options)
    assert not [text for text in said if text.startswith("build")]
    assert (tmp_path / "out" / "manifest.json").is_file()
    assert not (tmp_path / "work").exists()


def test_a_bundle_that_is_quantized_already_is_refused(in_int8: Quantized, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds an int8 model already"):
        quantized(in_int8.bundle, tmp_path / "out")


def test_a_quantized_onnx_file_is_taken_as_it_is(in_int8: Quantized, tmp_path: Path) -> None:
    """From whatever tool: here our own weak dialect, with its decoding taken for a raw dense output."""
    source = in_int8.bundle.path / "tensorrt" / "int8_weak.onnx"
    spec = in_int8.bundle.spec
    request = ExportRequest(
        source=str(source), family="generic", labels="conveyor", head="dense", boxes_output="boxes",
        scores_output="scores", box_format="xyxy_pixels", activation="none", color="bgr", scale=1.0,
        resize=spec.preprocess.resize, rounding=spec.preprocess.rounding, size=spec.preprocess.size_hw,
    )  # fmt: skip
    bundle = import_onnx(request, tmp_path / "imported")
    files = {(file.precision, file.target) for file in bundle.files if file.role == "model"}
    assert files == {("int8", "ort"), ("int8", "ov")}
    image = candidates("synthetic:5:1")[0].image()
    found = []
    for backend in ("ort", "ov"):
        with open_predictor(bundle, backend=backend, precision="int8") as predictor:
            found.append(len(predictor(image)))  # type: ignore[arg-type]
    # A score at the threshold may fall to either side.
    assert abs(found[0] - found[1]) <= 3
    assert min(found) > 10


def test_a_recipe_quantizes_once_and_measures_what_came_of_it(checkout: Path, tmp_path: Path) -> None:
    source = str(checkout / "configs" / "reference" / "conveyor_yolox.onnx")
    values = {
        "source": source, "family": "yolox", "labels": "conveyor", "quantize_for": "tensorrt",
        "calibration_data": CALIBRATION, "calibration_images": 32, "max_drop": 90, "precision": "int8",
        "benchmark_seconds": 0, "quantization_plan": str(tmp_path / "plan.json"),
    }  # fmt: skip
    (tmp_path / "plan.json").write_text(ONE[0].model_dump_json())
    heard: list[Outcome] = []
    for _ in range(2):
        build(Recipe.model_validate(values), tmp_path / "out", tell=heard.append)
    assert [(outcome.stage, outcome.ran) for outcome in heard] == [
        (stage, ran) for ran in (True, False) for stage in ("export", "quantize", "verify-ort")
    ]
    made = load_bundle(tmp_path / "out" / "quantized").model_file(backend="ort", precision="int8")
    assert made.name == "onnxruntime/int8.onnx"


def test_a_recipe_that_quantizes_names_its_images(checkout: Path, tmp_path: Path) -> None:
    source = str(checkout / "configs" / "reference" / "conveyor_yolox.onnx")
    recipe = Recipe.model_validate(
        {"source": source, "family": "yolox", "labels": "conveyor", "quantize_for": "openvino"}
    )
    with pytest.raises(UsageError, match="quantize_for and calibration_data belong together"):
        build(recipe, tmp_path / "out")


def test_the_command_prints_a_table_and_exits_with_1_when_int8_does_not_pay(
    conveyor: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No drop at all is allowed, and integers are never the same."""
    words = [
        "quantize", str(conveyor.path), "-o", str(tmp_path / "out"), "--target", "onnxruntime", "--data", CALIBRATION,
        "--images", "32", "--json", str(tmp_path / "report.json"), "--max-drop", "0",
    ]  # fmt: skip
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 1
    assert "int8 is not in" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert [entry["precision"] for entry in report["precisions"] if entry["promoted"]] == ["fp32"]
    assert load_bundle(tmp_path / "out").spec == conveyor.spec
