"""Backends behind one protocol, and the predictor on top of them."""

import os
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from tests.tiny import blob_image, save_graph, tiny_bundle

from edgewright.runtime import plugins
from edgewright.runtime.backends import BackendOptions, open_backend
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.cpu import usable_cores
from edgewright.runtime.errors import BackendError, UsageError
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.results import Detections

BACKENDS = [name for name in plugins.names("edgewright.runtime.backends") if name not in ("trt", "dla0", "dla1")]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("backends"))


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_declares_its_tensors_and_runs(name: str, bundle: Bundle) -> None:
    with open_backend(name, bundle.file("model.onnx"), BackendOptions(threads=1)) as backend:
        assert [(t.name, t.shape, t.dtype) for t in backend.inputs] == [("images", (1, 3, 64, 64), "float32")]
        assert {t.name for t in backend.outputs} == {"boxes", "scores"}
        outputs = backend.infer({"images": np.zeros((1, 3, 64, 64), np.float32)})
        assert outputs["boxes"].shape == (1, 84, 4)
        assert outputs["scores"].shape == (1, 84, 3)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_records_threads_engine_and_version(name: str, bundle: Bundle) -> None:
    with open_backend(name, bundle.file("model.onnx"), BackendOptions(threads=1)) as backend:
        assert backend.settings["threads"] == 1
        assert backend.settings["engine"] in ("onnxruntime", "openvino")
        assert str(backend.settings["engine_version"])[0].isdigit()


def test_openvino_computes_fp32_in_f32_whatever_the_processor_prefers(bundle: Bundle) -> None:
    pytest.importorskip("openvino")
    with open_backend("ov", bundle.file("model.onnx"), BackendOptions()) as backend:
        assert backend.settings["precision_hint"] == "f32"


def test_onnxruntime_does_not_spin_beside_openvino(bundle: Bundle) -> None:
    pytest.importorskip("openvino")
    with open_backend("ort", bundle.file("model.onnx"), BackendOptions()) as backend:
        assert backend.settings["spinning"] is False


@pytest.mark.parametrize("name", BACKENDS)
def test_wrong_feeds_say_what_is_wanted(name: str, bundle: Bundle) -> None:
    with open_backend(name, bundle.file("model.onnx"), BackendOptions()) as backend:
        with pytest.raises(BackendError, match="'images' is not fed"):
            backend.infer({"picture": np.zeros((1, 3, 64, 64), np.float32)})
        with pytest.raises(BackendError, match=r"wants float32 \[1, 3, 64, 64\], got float32 \[1, 3, 32, 64\]"):
            backend.infer({"images": np.zeros((1, 3, 32, 64), np.float32)})
        with pytest.raises(BackendError, match="got uint8"):
            backend.infer({"images": np.zeros((1, 3, 64, 64), np.uint8)})


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("content", [b"", b"not a model", None])
def test_a_file_that_is_no_model_is_one_sentence(name: str, content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BackendError, match="cannot load") as caught:
        open_backend(name, path, BackendOptions())
    assert "\n" not in str(caught.value)


def test_an_unknown_backend_suggests_the_closest(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="there is no backend 'ovv' \\(did you mean 'ov'\\?\\)"):
        open_predictor(bundle, backend="ovv", precision="fp32")


@pytest.mark.parametrize("name", BACKENDS)
def test_the_predictor_finds_the_blob_where_it_is(name: str, bundle: Bundle) -> None:
    with open_predictor(bundle, backend=name, threads=1) as predictor:
        result = predictor(blob_image())
        assert isinstance(result, Detections)
        assert len(result) > 0
        assert (result.class_ids == 0).all()
        centres = (result.boxes_xyxy[:, :2] + result.boxes_xyxy[:, 2:]) / 2
        assert ((centres > (10, 18)) & (centres < (62, 70))).all()
        assert predictor.settings["backend"] == name
        assert predictor.settings["conf_threshold"] == bundle.spec.postprocess.conf_threshold


def test_backends_agree_on_detections(bundle: Bundle) -> None:
    results = []
    for name in BACKENDS:
        with open_predictor(bundle, backend=name, threads=1) as predictor:
            results.append(predictor(blob_image()))
    for other in results[1:]:
        assert isinstance(other, Detections)
        assert isinstance(results[0], Detections)
        np.testing.assert_array_equal(other.class_ids, results[0].class_ids)
        np.testing.assert_allclose(other.boxes_xyxy, results[0].boxes_xyxy, atol=0.05)
        np.testing.assert_allclose(other.scores, results[0].scores, atol=1e-3)


def test_results_do_not_change_when_the_predictor_runs_again(bundle: Bundle) -> None:
    with open_predictor(bundle, backend="ov" if "ov" in BACKENDS else "ort") as predictor:
        first = predictor(blob_image())
        assert isinstance(first, Detections)
        kept = first.boxes_xyxy.copy()
        predictor(blob_image(box_xyxy=(64, 40, 120, 90)))
        np.testing.assert_array_equal(first.boxes_xyxy, kept)


def test_the_container_quota_limits_the_threads(tmp_path: Path) -> None:
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (group / "cpu.max").write_text("50000 100000\n")
    assert usable_cores(tmp_path) == 1
    (group / "cpu.max").write_text("max 100000\n")
    assert usable_cores(tmp_path) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("name", BACKENDS)
def test_an_output_keeps_its_name_when_the_engine_removes_what_made_it(tmp_path: Path, name: str) -> None:
    """OpenVINO cancels the two transposes, and the tensor that remains has another name as well."""
    nodes = [
        helper.make_node("Relu", ["images"], ["a"]),
        helper.make_node("Transpose", ["a"], ["turned"], perm=[0, 2, 3, 1]),
        helper.make_node("Transpose", ["turned"], ["logits"], perm=[0, 3, 1, 2]),
    ]
    path = save_graph(tmp_path / "net.onnx", nodes, [], ("images", [1, 3, 4, 4]), [("logits", [1, 3, 4, 4])])
    image = np.linspace(-1, 1, 48, dtype=np.float32).reshape(1, 3, 4, 4)
    with open_backend(name, path, BackendOptions(threads=1)) as backend:
        assert "logits" in {tensor.name for tensor in backend.outputs}
        np.testing.assert_array_equal(backend.infer({"images": image})["logits"], np.maximum(image, 0))
