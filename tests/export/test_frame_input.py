"""Pre-processing in the graph gives what pre-processing on the host gives."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.export.rtx import rtx_problems
from tests.tiny_prompted import bright_in_box_bundle

from edgewright.calibration.plan import Plan
from edgewright.export.frame_input import frame_spec, with_frame_input, with_frame_nodes
from edgewright.export.request import ExportRequest
from edgewright.pipeline.exporting import export
from edgewright.pipeline.lint.graphs import graphs_of
from edgewright.pipeline.quantizing import quantize
from edgewright.pipeline.verify import verify
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.conveyor import render_scene
from edgewright.runtime.errors import UsageError
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.preprocess import preprocess
from edgewright.runtime.results import Detections
from edgewright.runtime.spec import HeadSpec, ModelSpec, PostprocessSpec, PreprocessSpec, TensorSpec
from edgewright.runtime.tensorrt.targets import find_target

IMAGENET = {"scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
SCENE = render_scene(3, 1).image
SPECS: dict[str, Any] = {
    "rgb as ImageNet": {"color": "rgb", **IMAGENET},
    "bgr untouched": {"color": "bgr"},
    "rgb, channels last": {"color": "rgb", "layout": "nhwc", **IMAGENET},
    "grey": {"color": "gray", "scale": 1 / 127.5, "mean": (1.0,), "std": (1.0,)},
    "half": {"color": "rgb", "dtype": "float16", "scale": 1 / 255},
    "stretched, mean alone": {"color": "bgr", "mean": (103.5, 116.3, 123.7), "resize": "stretch"},
}


def plain_spec(**options: Any) -> ModelSpec:
    """A network whose only output is its input."""
    preprocess = PreprocessSpec(size_hw=(48, 64), **options)
    tensor = TensorSpec(name="images", shape=preprocess.tensor_shape, dtype=preprocess.dtype)
    return ModelSpec(
        name="plain", task="semantic", labels=("a", "b"), inputs=(tensor,), outputs=(tensor.model_copy(update={"name": "same"}),),
        preprocess=preprocess, head=HeadSpec(kind="semantic", outputs={"pixels": "same"}),
        postprocess=PostprocessSpec(conf_threshold=0.0),
    )  # fmt: skip


def run(model: onnx.ModelProto, value: Any) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": value})[0]


@pytest.mark.parametrize("options", SPECS.values(), ids=SPECS.keys())
def test_the_graph_makes_of_pixels_what_the_host_makes_of_them(options: dict[str, Any]) -> None:
    spec = plain_spec(**options)
    kind = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}[spec.preprocess.dtype]
    values = [helper.make_tensor_value_info(name, kind, spec.inputs[0].shape) for name in ("images", "same")]
    graph = helper.make_graph([helper.make_node("Identity", ["images"], ["same"])], "plain", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    pixels, placement = preprocess(SCENE, frame_spec(spec).preprocess)
    assert pixels.dtype == np.uint8
    wanted, same_place = preprocess(SCENE, spec.preprocess)
    assert placement == same_place
    got = run(with_frame_nodes(model, spec), pixels)
    assert got.dtype == wanted.dtype
    np.testing.assert_allclose(got, wanted, rtol=2e-3 if "dtype" in options else 1e-6, atol=1e-5)


@pytest.fixture(scope="module")
def conveyor(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    source = str(checkout / "configs" / "reference" / "conveyor_yolox.onnx")
    folder = tmp_path_factory.mktemp("bundles")
    request = ExportRequest(source=source, family="yolox", labels="conveyor")
    floats = export(request, folder / "float")
    return {"float": floats, "frame": export(request.model_copy(update={"uint8_input": True}), folder / "frame")}


@pytest.mark.parametrize("backend", ["ort", "ov"])
def test_detections_are_the_same(conveyor: dict[str, Bundle], backend: str) -> None:
    if backend == "ov":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    found = {}
    for name, bundle in conveyor.items():
        with open_predictor(bundle, backend=backend, threads=1) as predictor:
            found[name] = [predictor(render_scene(5, index).image) for index in range(3)]
        assert all(check.passed for check in verify(bundle, backend=backend))
    for wanted, got in zip(found["float"], found["frame"], strict=True):
        assert isinstance(wanted, Detections)
        assert isinstance(got, Detections)
        assert len(wanted.scores)
        np.testing.assert_allclose(got.boxes_xyxy, wanted.boxes_xyxy, atol=1e-2)
        np.testing.assert_allclose(got.scores, wanted.scores, atol=1e-4)
        np.testing.assert_array_equal(got.class_ids, wanted.class_ids)


def test_a_frame_network_is_quantized_like_the_other_and_built_by_nvidias_builder(
    conveyor: dict[str, Bundle], tmp_path: Path
) -> None:
    made = {}
    for name, bundle in conveyor.items():
        options: dict[str, Any] = {
            "data": "synthetic:11:8",
            "images": 8,
            "fewest": 8,
            "plans": [Plan()],
            "max_drop": 0.9,
        }
        made[name] = quantize(bundle, tmp_path / name, target="tensorrt", threads=1, **options)
    # The layer that reads the picture has three channels, and is quantized all the same.
    assert made["frame"].report.kept.keys() == made["float"].report.kept.keys()
    for target in ("jetpack5.1", "jetpack6.2", "trt11.4"):
        found = graphs_of(tmp_path / "frame", find_target(target), None)
        assert [finding for graph in found for finding in graph.findings if finding.level != "note"] == []
    for name in ("fp16", "int8_strong"):
        assert rtx_problems(onnx.load(str(tmp_path / "frame" / "tensorrt" / f"{name}.onnx"))) == []


def test_what_cannot_be_fed_so_is_refused(conveyor: dict[str, Bundle], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="takes uint8 already"):
        with_frame_input(conveyor["frame"], tmp_path / "out")
    with pytest.raises(UsageError, match="of several graphs"):
        with_frame_input(bright_in_box_bundle(tmp_path / "prompted"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
