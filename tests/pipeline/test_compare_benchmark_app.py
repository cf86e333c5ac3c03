"""The comparison with OpenVINO's benchmark_app measures the same thing twice; how long it took is for docs/benchmark_app.md."""

import importlib.machinery
import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from tests.tiny import tiny_bundle

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "compare_benchmark_app"

# Lines that benchmark_app of OpenVINO 2026.4 printed with the script's options.
PRINTED = """[Step 6/11] Configuring input of the model
[ INFO ]     images (node: images) : f32 / [N,C,H,W] / [1,3,416,416]
[Step 8/11] Querying optimal runtime parameters
[ INFO ] Model:
[ INFO ]   NETWORK_NAME: onnx_Frontend_IR
[ INFO ]   NUM_STREAMS: 1
[ INFO ]   INFERENCE_NUM_THREADS: 1
[ INFO ]   INFERENCE_PRECISION_HINT: <Type: 'float32'>
[ INFO ]   PERFORMANCE_HINT: LATENCY
[ INFO ]   ENABLE_CPU_PINNING: False
[Step 11/11] Dumping statistics report
[ INFO ] Latency:
[ INFO ]    Median:        49.81 ms
[ INFO ]    Average:       51.02 ms
"""


@pytest.fixture(scope="module", name="script")
def script_fixture() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("compare_benchmark_app", str(SCRIPT))
    spec = importlib.util.spec_from_loader("compare_benchmark_app", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["compare_benchmark_app"] = module
    loader.exec_module(module)
    return module


def test_what_benchmark_app_prints_is_read_with_the_settings(script: ModuleType) -> None:
    found = script.parse_app(PRINTED)
    assert found.median_ms == 49.81
    # Below a millisecond it prints microseconds.
    assert script.parse_app(PRINTED.replace("49.81 ms", "498.10 us")).median_ms == pytest.approx(0.4981)
    assert found.settings == {
        "streams": "1", "threads": "1", "precision_hint": "f32", "performance_hint": "LATENCY", "cpu_pinning": "False",
    }  # fmt: skip


def test_an_engine_that_was_set_otherwise_is_not_compared(script: ModuleType) -> None:
    app = script.parse_app(PRINTED)
    other = script.parse_app(PRINTED.replace("INFERENCE_NUM_THREADS: 1", "INFERENCE_NUM_THREADS: 2"))
    script.check_alike(app, app)
    with pytest.raises(SystemExit, match="threads is 1 in Edgewright and 2 in benchmark_app"):
        script.check_alike(app, other)


def test_output_without_a_median_is_not_compared(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="printed no median"):
        script.parse_app("[ INFO ] Latency:\n")


def test_both_run_the_same_file_on_the_same_tensor_with_the_same_settings(script: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    if shutil.which("benchmark_app", path=str(Path(sys.executable).parent)) is None and not shutil.which(
        "benchmark_app"
    ):
        pytest.skip("benchmark_app is not installed")
    bundle = tiny_bundle(tmp_path)
    tensor = tmp_path / "input.npy"
    np.save(tensor, script.input_tensor(bundle))
    golden = bundle.manifest.golden
    assert golden is not None
    with np.load(bundle.file(golden.tensors)) as tensors:
        np.testing.assert_array_equal(np.load(tensor), tensors["input:images"])
    app = script.theirs(bundle, tensor, 1, 1)
    own = script.ours(bundle, 1, 0.1)
    script.check_alike(own, app)
    assert own.settings["precision_hint"] == app.settings["precision_hint"] == "f32"
    assert app.median_ms > 0
    assert own.median_ms > 0
