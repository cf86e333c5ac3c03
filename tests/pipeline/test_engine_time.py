"""What a report says of a run on TensorRT: on what, how many at once, with transfers or without; on imitations of both."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fake_tensorrt.world import World, compiled, compiler
from tests.runtime.test_trtexec_output import WITH_TRANSFERS, WITHOUT_TRANSFERS
from tests.tiny import tiny_bundle

from edgewright.pipeline import benchmark as pipeline_benchmark
from edgewright.pipeline.benchmark import benchmark
from edgewright.pipeline.commands import benchmark as command
from edgewright.pipeline.console import result_console
from edgewright.pipeline.engine_time import engine_measurements, engine_path, engine_times
from edgewright.runtime.backends import trt
from edgewright.runtime.predictor import open_predictor
from edgewright.runtime.tensorrt.cuda import Cuda
from edgewright.runtime.tensorrt.driver import Driver, Gpu, preflight
from edgewright.runtime.tensorrt.trtexec_output import parse_trtexec

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C compiler to make the imitations")


@pytest.fixture
def device(tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """A Jetson or a PC with the imitation of TensorRT 10.3."""

    def install(integrated: bool) -> None:
        for source in ("cudart", "cuda_driver"):
            compiled(source, tmp_path)
        world = World(tmp_path / "cudart.so", "10.3.0", integrated=integrated)
        world.trt.__name__ = "tests.fake_tensorrt.tensorrt"
        monkeypatch.setenv("PYTHONPATH", str(checkout))
        monkeypatch.setenv("FAKE_TENSORRT_VERSION", "10.3.0")
        gpu = Gpu("RTX A4000", 86, 48, False, 16 << 30)
        pc = Driver("13.0", (gpu,))
        monkeypatch.setattr(
            trt, "preflight", lambda library: preflight(str(tmp_path / "cuda_driver.so")) if integrated else pc
        )
        monkeypatch.setattr(trt, "import_tensorrt", lambda: world.trt)
        monkeypatch.setattr(trt, "Cuda", lambda: Cuda(world.path))

    return install


@needs_compiler
@pytest.mark.parametrize(("integrated", "transfers"), [(True, "none (shared memory)"), (False, "included")])
def test_a_run_is_labelled_with_processor_precision_batch_and_transfers(
    device: Callable[[bool], None], tmp_path: Path, integrated: bool, transfers: str
) -> None:
    device(integrated)
    bundle = tiny_bundle(tmp_path)
    with open_predictor(bundle, backend="trt", precision="fp16", cache_dir=tmp_path / "cache") as predictor:
        labels = {"processor": "GPU", "executed_precision": "fp16", "batch": 1, "transfers": transfers}
        assert predictor.settings.items() >= labels.items()
        path = engine_path(predictor.backend)
    assert path is not None
    assert path.is_file()


def test_the_engine_alone_is_timed_by_trtexec_and_read_into_measurements(tmp_path: Path) -> None:
    program = tmp_path / "trtexec"
    (tmp_path / "output").write_text(WITHOUT_TRANSFERS)
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\ncat {tmp_path}/output\n')
    program.chmod(0o755)
    times = engine_times(tmp_path / "a.engine", {"engine_version": "8.5.2.2"}, program=str(program))
    assert times is not None
    values = {m.name: (m.value, m.unit) for m in engine_measurements(times)}
    # Without --percentile=95 in that run.
    assert values == {
        "latency.engine.p50": (1.38037, "ms"),
        "latency.engine.p99": (1.55853, "ms"),
        "latency.engine.mean": (1.38629, "ms"),
    }
    asked = (tmp_path / "asked").read_text().split()
    assert asked[0] == f"--loadEngine={tmp_path}/a.engine"
    assert {"--noDataTransfers", "--useCudaGraph", "--percentile=50,90,95,99"} <= set(asked)
    settings = {"engine_version": "10.3.0", "processor": "DLA 1"}
    assert engine_times(tmp_path / "a.engine", settings, program=str(program)) is not None
    asked = (tmp_path / "asked").read_text().split()
    assert asked[1] == "--useDLACore=1"
    assert "--useCudaGraph" not in asked


def test_without_trtexec_or_with_another_engine_nothing_is_timed(tmp_path: Path) -> None:
    assert engine_times(tmp_path / "a.engine", {"engine_version": "10.3.0"}, program=str(tmp_path / "trtexec")) is None
    assert engine_times(None, {"engine_version": "1.31.1"}, program="/bin/true") is None
    assert engine_path(object()) is None
    assert list(engine_measurements(None)) == []


def test_a_trtexec_that_fails_gives_no_times(tmp_path: Path) -> None:
    program = tmp_path / "trtexec"
    program.write_text("#!/bin/sh\necho '&&&& FAILED TensorRT.trtexec [TensorRT v8205]'\nexit 1\n")
    program.chmod(0o755)
    assert engine_times(tmp_path / "a.engine", {"engine_version": "8.2.5"}, program=str(program)) is None


@needs_compiler
def test_benchmark_prints_the_labels_and_a_row_of_the_engine_alone(
    device: Callable[[bool], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    device(False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    times = parse_trtexec(WITH_TRANSFERS)
    monkeypatch.setattr(pipeline_benchmark, "engine_times", lambda engine, version: times if engine else None)
    report = benchmark(
        tiny_bundle(tmp_path), backend="trt", precision="fp16", seconds=0, iterations=5, warmup=1, cold_start_repeats=0
    )
    values = {m.name: m.value for m in report.measurements}
    assert values["latency.engine.p50"] == 7.14139
    used = report.settings["benchmark"]
    assert (used["processor"], used["batch"], used["transfers"]) == ("GPU", 1, "included")
    command._print(report, result_console())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(" fp16 on trt, GPU, batch 1, transfers included: 5 runs after 1 of warm-up")
    (row,) = (line.split() for line in lines if line.startswith("engine "))
    assert [round(float(cell), 2) for cell in row[1:]] == [7.14, 10.82, 12.95, 7.58]
