"""The whole way of `--backend trt`: the driver, the device, the engine's build and cache, the run; and what is missing elsewhere."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from tests.fake_tensorrt.world import World, compiled, compiler
from tests.tiny import blob_image, tiny_bundle
from tests.tiny_prompted import bright_boxes, bright_in_box_bundle

from edgewright.export.open_batch import open_batch
from edgewright.pipeline.cli import main
from edgewright.runtime.backends import BackendOptions, open_backend, trt
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import BackendError, UsageError
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.results import Detections
from edgewright.runtime.tensorrt.cuda import Cuda
from edgewright.runtime.tensorrt.driver import Driver, Gpu, preflight
from edgewright.runtime.tensorrt.on_device import this_device, user_cache

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C compiler to make the imitations")
ORIN = Driver("12.6", (Gpu("Orin", 87, 8, True, 8 << 30),))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("backend"))


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("libraries")
    for source in ("cudart", "cuda_driver"):
        compiled(source, folder)
    return folder


@pytest.fixture
def orin(libraries: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], World]:
    """A board with the imitation of a version of TensorRT."""

    def install(version: str) -> World:
        world = World(libraries / "cudart.so", version, integrated=True)
        monkeypatch.setenv("PYTHONPATH", str(checkout))
        monkeypatch.setenv("FAKE_TENSORRT_VERSION", version)
        # The process that builds imports the imitation by that name.
        world.trt.__name__ = "tests.fake_tensorrt.tensorrt"
        monkeypatch.setattr(trt, "preflight", lambda library: preflight(str(libraries / "cuda_driver.so")))
        monkeypatch.setattr(trt, "import_tensorrt", lambda: world.trt)
        monkeypatch.setattr(trt, "Cuda", lambda: Cuda(world.path))
        return world

    return install


@needs_compiler
@pytest.mark.parametrize(
    ("version", "precisions"), [("8.6.1", ("fp32", "fp16")), ("10.3.0", ("fp16",)), ("11.4.0", ("fp32",))]
)
def test_detections_are_those_of_onnx_runtime(
    orin: Callable[[str], World],
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    precisions: tuple[str, ...],
) -> None:
    world = orin(version)
    if version == "11.4.0":  # which no board has
        desktop = Driver("13.0", (Gpu("RTX A4000", 86, 48, False, 16 << 30),))
        monkeypatch.setattr(trt, "preflight", lambda library: desktop)
        with pytest.raises(UsageError, match="holds no fp16 model for TensorRT's strong typing"):
            open_predictor(bundle, backend="trt", precision="fp16", cache_dir=tmp_path)
    with open_predictor(bundle, backend="ort", threads=1) as reference:
        wanted = reference(blob_image())
    assert isinstance(wanted, Detections)
    for precision in precisions:
        with open_predictor(bundle, backend="trt", precision=precision, cache_dir=tmp_path) as predictor:
            for _ in range(3):
                found = predictor(blob_image())
                assert isinstance(found, Detections)
                np.testing.assert_allclose(found.boxes_xyxy, wanted.boxes_xyxy, atol=1e-3)
                np.testing.assert_array_equal(found.class_ids, wanted.class_ids)
            assert predictor.settings["engine_version"] == f"{version}.0"
            assert predictor.settings["executed_precision"] == precision
            assert predictor.settings["zero_copy"] is True
    world.assert_clean()
    assert len(list(tmp_path.glob("*.engine"))) == len(precisions)


@needs_compiler
def test_a_network_of_several_graphs_has_an_engine_of_each(
    orin: Callable[[str], World], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bright_in_box_bundle(tmp_path / "bundle")
    world = orin("10.3.0")
    image = bright_boxes([(20, 20, 60, 60)])
    masks = []
    for backend in ("ort", "trt"):
        with open_predictor(
            bundle, backend=backend, prompts=["box:16,16,64,64"], cache_dir=tmp_path / "c"
        ) as predictor:
            found = predictor(image)
            assert isinstance(found, Detections)
            masks.append((found.boxes_xyxy, found.scores))
    np.testing.assert_allclose(masks[1][0], masks[0][0], atol=1e-3)
    np.testing.assert_allclose(masks[1][1], masks[0][1], atol=1e-6)
    world.assert_clean()
    assert len(list((tmp_path / "c").glob("*.engine"))) == 2
    assert run("compile", bundle.path, "--target", "jetpack5.1", "--print-trtexec") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


@needs_compiler
def test_a_dla_has_engines_of_its_own_that_no_graph_captures(
    orin: Callable[[str], World], bundle: Bundle, tmp_path: Path
) -> None:
    world = orin("10.3.0")
    for backend, processor, captured in (("dla0", "DLA 0", False), ("dla1", "DLA 1", False), ("trt", "GPU", True)):
        with open_predictor(bundle, backend=backend, precision="fp16", cache_dir=tmp_path) as predictor:
            for _ in range(3):
                assert isinstance(predictor(blob_image()), Detections)
            labels = {"processor": processor, "cuda_graph": captured, "transfers": "none (shared memory)", "batch": 1}
            assert predictor.settings.items() >= labels.items()
    with pytest.raises(UsageError, match="not compute in fp32"):
        open_predictor(bundle, backend="dla0", precision="fp32", cache_dir=tmp_path)
    world.assert_clean()
    places = sorted(path.name.split("-fp16-")[1].partition("-")[0] for path in tmp_path.glob("*.engine"))
    assert places[1:] == ["dla0", "dla1"]
    cores = [json.loads(path.read_text())["spec"]["dla_core"] for path in sorted(tmp_path.glob("*.engine.json"))]
    assert sorted(cores, key=str) == [0, 1, None]


@needs_compiler
def test_an_engine_of_a_batch_is_built_for_it_alone_and_captured(
    orin: Callable[[str], World], bundle: Bundle, tmp_path: Path
) -> None:
    opened = open_batch(bundle, tmp_path / "opened")
    pictures = [blob_image(box_xyxy=(x, 24, x + 40, 64)) for x in (16, 40, 64)]
    with open_predictor(bundle, backend="ort", threads=1) as reference:
        wanted = [reference(one) for one in pictures]
    world = orin("10.3.0")
    for batch in (1, 2):
        with open_predictor(opened, backend="trt", batch=batch, cache_dir=tmp_path / "cache") as predictor:
            for _ in range(3):
                for found, alone in zip(predictor.several(pictures), wanted, strict=True):
                    assert isinstance(found, Detections)
                    assert isinstance(alone, Detections)
                    np.testing.assert_allclose(found.boxes_xyxy, alone.boxes_xyxy, atol=1e-3)
            assert predictor.settings.items() >= {"batch": batch, "cuda_graph": True}.items()
            assert predictor.backend.inputs[0].shape[0] == batch
    world.assert_clean()
    names = sorted(path.name.split("-fp32-")[1].partition("-")[0] for path in (tmp_path / "cache").glob("*.engine"))
    assert names == ["b1", "b2"]


@needs_compiler
def test_an_engine_in_the_cache_is_not_built_again_and_another_version_is(
    orin: Callable[[str], World], bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = BackendOptions(cache_dir=tmp_path)
    orin("8.6.1")
    open_backend("trt", bundle.file("model.onnx"), options).close()
    monkeypatch.setenv("FAKE_TENSORRT_BUILD", "crash")
    open_backend("trt", bundle.file("model.onnx"), options).close()
    orin("10.3.0")
    with pytest.raises(BackendError, match="SIGSEGV"):
        open_backend("trt", bundle.file("model.onnx"), options)


@needs_compiler
def test_a_model_outside_a_bundle_is_refused(orin: Callable[[str], World], tmp_path: Path) -> None:
    orin("10.3.0")
    with pytest.raises(UsageError, match="is in no bundle"):
        open_backend("trt", tmp_path / "model.onnx", BackendOptions())


@needs_compiler
def test_the_driver_tells_its_gpus(libraries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert preflight(str(libraries / "cuda_driver.so")) == ORIN
    monkeypatch.setenv("FAKE_CUDA_GPUS", "0")
    with pytest.raises(BackendError, match="the driver sees no NVIDIA GPU"):
        preflight(str(libraries / "cuda_driver.so"))


@needs_compiler
@pytest.mark.parametrize(("code", "said"), [(100, "--gpus all"), (803, "reboot, or reinstall"), (5, "CUDA error 5")])
def test_a_driver_that_does_not_work_says_why(
    libraries: Path, monkeypatch: pytest.MonkeyPatch, code: int, said: str
) -> None:
    monkeypatch.setenv("FAKE_CUDA_INIT", str(code))
    with pytest.raises(BackendError, match=said):
        preflight(str(libraries / "cuda_driver.so"))


@pytest.mark.parametrize(
    "verb",
    [
        ("run", "--source", "synthetic:1", "--max-frames", "1"),
        ("evaluate", "--data", "coco:{folder}:{folder}/labels.json"),
        ("benchmark", "--seconds", "1"),
    ],
)
def test_without_a_driver_a_verb_says_one_sentence_and_exits_with_3(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: Any
) -> None:
    monkeypatch.setattr(trt, "LIBRARY", "libcuda-of-nowhere.so.1")
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace())  # which is not touched: it has nothing
    cv2.imwrite(str(tmp_path / "a.png"), blob_image())
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [16, 24, 40, 40], "area": 1600, "iscrowd": 0}
    labels = {
        "images": [{"id": 1, "file_name": "a.png", "width": 128, "height": 96}],
        "annotations": [box],
        "categories": [{"id": 1, "name": "bolt"}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    words = [word.format(folder=tmp_path) for word in verb]
    with pytest.raises(SystemExit) as ended:
        main([words[0], str(bundle.path), *words[1:], "--backend", "trt"])
    said = capsys.readouterr().err
    assert ended.value.code == 3
    assert said.count("error: ") == 1
    assert "no NVIDIA driver" in said
    assert "--backend ort" in said


def test_a_missing_package_is_advised_by_the_kind_of_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendError, match=r"does not load|pip install 'edgewright\[tensorrt\]'"):
        trt.import_tensorrt()
    with pytest.raises(BackendError, match=r"pip install 'edgewright\[tensorrt\]'"):
        trt.import_tensorrt("tensorrt_of_nowhere")
    monkeypatch.setattr(trt, "jetson_linux", lambda root: "36.4.3")
    with pytest.raises(BackendError, match="--system-site-packages") as caught:
        trt.import_tensorrt("tensorrt_of_nowhere")
    assert "pip install" not in str(caught.value)


def test_a_folder_of_that_name_without_code_is_no_tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stubs_of_tensorrt").mkdir()
    (tmp_path / "stubs_of_tensorrt/__init__.pyi").write_text("def anything() -> None: ...")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendError, match=r"this Python has no TensorRT"):
        trt.import_tensorrt("stubs_of_tensorrt")


def test_a_device_is_known_by_what_its_engines_depend_on(tmp_path: Path) -> None:
    for name, text in (
        ("etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic"),
        ("var/lib/nvpmodel/status", "pmode:0002 fmode:fanNull"),
        ("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    device = this_device(ORIN, "10.3.0.30", "12.6", root=tmp_path)
    key = device.key
    assert (key.tensorrt, key.gpu, key.sm, key.driver) == ("10.3.0.30", "Orin", 87, "12.6 (540.4.0)")
    assert (key.power_mode, key.l4t) == ("mode 2", "36.4.3")
    assert device.target.dialect == "weak"
    with pytest.raises(UsageError, match="known to fail"):
        this_device(ORIN, "10.2.0.19", "12.6", root=tmp_path)


def test_engines_lie_in_the_users_cache() -> None:
    assert user_cache({"XDG_CACHE_HOME": "/c"}) == Path("/c/edgewright/tensorrt")


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(str(ended.value.code))


def test_compile_plans_lints_and_says_why_nothing_is_built(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewright.pipeline.compiling.preflight", lambda: preflight("libcuda-of-nowhere.so.1"))
    report = tmp_path / "report.json"
    assert run("compile", bundle.path, "--target", "jetpack6.2", "-o", tmp_path / "out", "--json", report) == 0
    said = capsys.readouterr().out
    assert "TensorRT 10.3.0, sm 87" in said
    assert "flags      FP16" in said
    assert "no rule objects" in said
    assert "not built here: there is no NVIDIA driver" in said
    assert '"precision": "fp16"' in report.read_text()
    assert run("compile", bundle.path, "--target", "trt11.4.1", "--precision", "fp32", "--print-trtexec") == 0
    words = capsys.readouterr().out.split()
    assert words[0] == "trtexec"
    assert "--fp16" not in words
    assert "--saveEngine=blob-main-fp32-" in " ".join(words)
    assert run("compile", bundle.path, "--target", "jetpack6.2", "--dla", "1") == 0
    said = capsys.readouterr().out
    assert "processor  DLA 1; what it cannot run falls back to the GPU" in said
    assert "of which the DLA has no layer: they run on the GPU" in said
    assert "--useDLACore=1 --allowGPUFallback" in said
    assert run("compile", bundle.path, "--target", "jetpack7.1", "--precision", "fp32", "--dla", "0") == 2
    assert "has no DLA that TensorRT 10.13.3 runs" in capsys.readouterr().err
    assert run("compile", bundle.path) == 3
    assert "name it with --target" in capsys.readouterr().err
    assert run("compile", bundle.path, "--target", "jetpack9") == 2


@needs_compiler
def test_compile_builds_where_the_target_is(
    orin: Callable[[str], World],
    libraries: Path,
    bundle: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = orin("10.3.0")
    monkeypatch.setattr(
        "edgewright.pipeline.compiling.find_device",
        lambda: (this_device(ORIN, world.trt.__version__, "12.6", module=world.trt.__name__), None),
    )
    assert run("compile", bundle.path, "--target", "jetpack6.2", "-o", tmp_path) == 0
    said = capsys.readouterr()
    (engine,) = tmp_path.glob("*.engine")
    assert f"engine     {engine}" in said.out
    assert "building model.onnx" in said.err
    assert run("compile", bundle.path, "--target", "jetpack5.1", "-o", tmp_path / "other") == 0
    assert "engines are built where they run" in capsys.readouterr().out
