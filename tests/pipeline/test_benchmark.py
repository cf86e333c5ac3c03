import py_compile
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
from tests.tiny import blob_image, tiny_bundle

from edgewright.pipeline.benchmark import benchmark, model_bytes
from edgewright.pipeline.cold_start import cold_start
from edgewright.pipeline.first_detections import peak_rss_kib
from edgewright.pipeline.frames import benchmark_frames
from edgewright.pipeline.gate import gate
from edgewright.pipeline.latency import Run, is_stable, latency_measurements, measure_runs, time_frame, warm_up
from edgewright.pipeline.policy import Policy
from edgewright.pipeline.report.schema import Report
from edgewright.runtime.bundle import Bundle, BundleFile
from edgewright.runtime.errors import BackendError, SourceError, UsageError
from edgewright.runtime.predictor import Predictor


@pytest.fixture(scope="module", name="bundle")
def bundle_fixture(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("benchmark"))


@pytest.fixture(scope="module", name="report")
def report_fixture(bundle: Bundle) -> Report:
    return benchmark(bundle, threads=1, seconds=0.05, iterations=20, warmup=3, cold_start_repeats=1)


class StubPredictor:
    """Stands in for a predictor: notes the images, and whether it is at work."""

    def __init__(self, seconds: float = 0.0, batch: int = 1) -> None:
        self.images: list[Any] = []
        self.batch = batch
        self.busy = False
        self.seconds = seconds

    def propose(self, image: Any, names: Any) -> None:
        return None

    def prepare(self, image: Any, regions: Any) -> tuple[Any, Any]:
        self.busy = True
        self.images.append(image)
        return {}, None

    def prepare_several(self, images: Any) -> tuple[Any, Any]:
        self.busy = True
        self.images.append(tuple(images))
        return {}, None

    def infer(self, feeds: Any) -> Any:
        time.sleep(self.seconds)
        return {}

    def finish(self, outputs: Any, placement: Any) -> None:
        self.busy = False

    finish_several = finish

    def told(self, phase: str, done: float) -> None:
        assert not self.busy
        assert 0 <= done <= 1

    @property
    def as_predictor(self) -> Predictor:
        return cast("Predictor", self)


def test_a_report_has_every_measurement_with_its_unit_and_direction(report: Report) -> None:
    latencies = {
        f"latency.{stage}.{number}": ("ms", False)
        for stage in ("prepare", "infer", "finish", "end_to_end")
        for number in ("p50", "p95", "p99", "mean")
    }
    others = {
        "throughput": ("1/s", True),
        "cold_start": ("s", False),
        "peak_rss": ("MiB", False),
        "model_size": ("MiB", False),
        "parameters": ("count", False),
        "gflops": ("GFLOP", False),
    }
    assert {m.name: (m.unit, m.higher_is_better) for m in report.measurements} == latencies | others
    assert all(m.value > 0 for m in report.measurements)


def test_a_report_states_what_was_run_and_on_what(report: Report, bundle: Bundle) -> None:
    settings = report.settings["benchmark"]
    stated = {"backend": "ort", "threads": 1, "seconds": 0.05, "iterations": 20, "warmup": 3, "conf_threshold": 0.25}
    assert settings.items() >= stated.items()
    assert (settings["frames"], settings["frame_count"]) == ("the bundle's golden image", 1)
    assert (report.bundle.digest, report.data) == (bundle.digest, None)
    assert {"cpu_model", "isa", "usable_cores"} <= report.device.keys()
    assert isinstance(report.state["runs"], int)
    assert report.state["runs"] >= 20


def test_a_report_passes_the_gate_against_itself(report: Report) -> None:
    assert gate(
        report, report, Policy(allowed_ratio={"latency.*": 1.1, "model_size": 1.0}, allowed_rise={"peak_rss": 0})
    ).passed


def test_size_and_complexity_are_those_of_the_bundle(report: Report, bundle: Bundle) -> None:
    values = {m.name: m.value for m in report.measurements}
    model = bundle.file(bundle.model_file(backend="ort", precision="fp32").name)
    assert values["model_size"] == model.stat().st_size / 2**20
    assert bundle.manifest.complexity is not None
    assert values["parameters"] == bundle.manifest.complexity.parameters


def test_unknown_complexity_is_left_out_with_a_note(bundle: Bundle) -> None:
    simple = replace(bundle, manifest=bundle.manifest.model_copy(update={"complexity": None}))
    found = benchmark(simple, threads=1, seconds=0, iterations=1, warmup=0, cold_start_repeats=0)
    assert {"parameters", "gflops", "cold_start", "peak_rss"}.isdisjoint(m.name for m in found.measurements)
    assert any("GFLOPs" in note for note in found.notes)


@pytest.mark.parametrize("runs", [99, 100])
def test_a_tail_of_few_runs_is_noted(runs: int, bundle: Bundle) -> None:
    found = benchmark(bundle, threads=1, seconds=0, iterations=runs, warmup=0, cold_start_repeats=0)
    assert any(f"p99 of {runs} runs" in note for note in found.notes) is (runs < 100)


def test_model_size_counts_the_files_that_the_backend_loads_and_no_others(bundle: Bundle) -> None:
    def file(name: str, role: Any, precision: Any, target: str, size: int) -> BundleFile:
        return BundleFile(name=name, role=role, sha256="0" * 64, size=size, precision=precision, target=target)

    files = (
        file("model.onnx", "model", "fp32", "any", 1),
        file("openvino/int8.xml", "model", "int8", "ov", 10),
        file("openvino/int8.bin", "weights", "int8", "ov", 100),
        file("int8.onnx", "model", "int8", "any", 1000),
        file("golden/image.png", "golden", None, "any", 10000),
    )
    several = replace(bundle, manifest=bundle.manifest.model_copy(update={"files": files}))
    assert model_bytes(several, backend="ov", precision="int8") == 110
    assert model_bytes(several, backend="ort", precision="int8") == 1000
    assert model_bytes(several, backend="ort", precision="fp32") == 1


def test_percentiles_are_interpolated_as_the_standard_library_does() -> None:
    runs = [Run(prepare=1_000_000, infer=value * 1_000_000, finish=2_000_000) for value in range(1, 88)]
    values = {m.name: m.value for m in latency_measurements(runs)}
    cuts = statistics.quantiles(range(1, 88), n=100, method="inclusive")
    assert [values[f"latency.infer.p{q}"] for q in (50, 95, 99)] == pytest.approx([cuts[q - 1] for q in (50, 95, 99)])
    assert values["latency.end_to_end.p95"] == pytest.approx(cuts[94] + 3)
    assert values["latency.end_to_end.mean"] == pytest.approx(44 + 3)
    assert values["throughput"] == pytest.approx(1000 / 47)


def test_a_stage_is_given_the_time_that_it_took() -> None:
    run = time_frame(StubPredictor(seconds=0.02).as_predictor, blob_image())
    assert run.infer is not None
    assert run.infer >= 20_000_000
    assert run.infer > run.prepare + run.finish


def test_measuring_takes_the_images_in_turn_until_there_are_runs_enough() -> None:
    stub = StubPredictor()
    runs = measure_runs(stub.as_predictor, ("a", "b", "c"), seconds=0, iterations=7, tell=stub.told)  # type: ignore[arg-type]
    assert len(runs) == 7
    assert stub.images == ["a", "b", "c", "a", "b", "c", "a"]


def test_a_run_of_a_batch_takes_so_many_images_in_turn() -> None:
    stub = StubPredictor(batch=2)
    runs = measure_runs(stub.as_predictor, ("a", "b", "c"), seconds=0, iterations=3, tell=stub.told)  # type: ignore[arg-type]
    assert len(runs) == 3
    assert stub.images == [("a", "b"), ("c", "a"), ("b", "c")]


def test_measuring_lasts_until_the_time_is_up_too() -> None:
    stub = StubPredictor(seconds=0.002)
    started = time.monotonic()
    runs = measure_runs(stub.as_predictor, (blob_image(),), seconds=0.7, iterations=3, tell=stub.told)
    assert time.monotonic() - started >= 0.7
    assert len(runs) > 3


def test_warm_up_runs_as_often_as_it_is_told() -> None:
    stub = StubPredictor()
    warm = warm_up(stub.as_predictor, (blob_image(),), 4, most_s=9, tell=stub.told)
    assert (warm.runs, warm.stable, len(stub.images)) == (4, None, 4)


@pytest.mark.parametrize(
    ("totals", "stable"),
    [
        ([100] * 19, False),
        ([100] * 20, True),
        ([900] * 5 + [100] * 20, True),
        ([100] * 10 + [102] * 10, True),
        ([100] * 10 + [105] * 10, False),
        ([105] * 10 + [100] * 10, False),
        # Single slow runs say nothing of whether the machine is warm.
        ([100] * 10 + [100] * 6 + [400] * 4, True),
    ],
)
def test_runs_are_stable_when_two_windows_have_the_same_median(totals: list[int], stable: bool) -> None:
    assert is_stable(totals) is stable


def test_a_machine_that_never_comes_to_rest_ends_warm_up_by_count_or_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewright.pipeline.latency.is_stable", lambda totals: False)
    stub = StubPredictor()
    warm = warm_up(stub.as_predictor, (blob_image(),), None, most_s=60, tell=stub.told)
    assert (warm.runs, warm.stable) == (200, False)
    slow = StubPredictor(seconds=0.02)
    warm = warm_up(slow.as_predictor, (blob_image(),), None, most_s=0.05, tell=slow.told)
    assert (warm.stable, 1 <= warm.runs <= 3) == (False, True)


def test_an_unstable_warm_up_is_noted(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewright.pipeline.latency.is_stable", lambda totals: False)
    found = benchmark(bundle, threads=1, seconds=0, iterations=1, cold_start_repeats=0)
    assert any("still changing" in note for note in found.notes)
    assert found.settings["benchmark"]["warmup"] == "until stable"


@pytest.mark.parametrize("wrong", [{"iterations": 0}, {"seconds": -1}, {"warmup": -1}, {"cold_start_repeats": -1}])
def test_a_benchmark_of_nothing_is_misuse(bundle: Bundle, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="at least one iteration"):
        benchmark(bundle, **wrong)


def test_frames_are_named_by_their_pixels_and_not_by_their_path(bundle: Bundle, tmp_path: Path) -> None:
    for folder, value in (("a", 250), ("b", 250), ("c", 20)):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "1.png"), blob_image())
        cv2.imwrite(str(tmp_path / folder / "2.png"), np.full((48, 64, 3), value, np.uint8))
    a, b, c = (benchmark_frames(bundle, str(tmp_path / folder)) for folder in "abc")
    assert a.digest == b.digest != c.digest
    assert (len(a.images), a.size, a.origin) == (2, "2 sizes", str(tmp_path / "a"))
    assert np.array_equal(a.images[0], blob_image())


def test_a_bundle_without_a_golden_image_is_measured_on_rendered_scenes(bundle: Bundle) -> None:
    plain = replace(bundle, manifest=bundle.manifest.model_copy(update={"golden": None}))
    frames = benchmark_frames(plain)
    assert frames.origin.startswith("synthetic:")
    assert all(image.std() > 10 for image in frames.images)
    assert frames.digest == benchmark_frames(plain).digest


def test_at_most_sixteen_frames_of_a_source_are_kept(bundle: Bundle) -> None:
    assert len(benchmark_frames(bundle, "synthetic:3:20").images) == 16


def test_a_source_that_is_not_there_is_named(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="none"):
        benchmark_frames(bundle, str(tmp_path / "none"))


def test_cold_start_is_measured_in_a_process_of_its_own(bundle: Bundle) -> None:
    held = np.ones(400 << 20, np.uint8)  # a child's ru_maxrss would begin with this
    start = cold_start(bundle, blob_image(), backend="ort", precision="fp32", threads=1)
    own_kib = peak_rss_kib()
    assert start.peak_rss_mib is not None
    assert own_kib is not None
    assert start.peak_rss_mib * 2**20 < held.nbytes < own_kib * 1024
    # Neither an interpreter nor a machine is faster or smaller than this.
    assert start.seconds > 0.01
    assert start.peak_rss_mib > 10


@pytest.mark.parametrize("compiled", [True, False])
def test_a_cold_start_that_compiles_its_modules_is_noted(
    compiled: bool, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    if compiled:
        py_compile.compile(np.__file__)
    found = benchmark(bundle, threads=1, seconds=0, iterations=1, warmup=0, cold_start_repeats=1)
    assert any("bytecode" in note for note in found.notes) is not compiled


def test_a_fresh_process_that_fails_says_why(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(
        BackendError, match=r"a fresh process failed before its first detections: .*there is no bundle at"
    ):
        cold_start(replace(bundle, path=tmp_path / "none"), blob_image(), backend="ort", precision="fp32", threads=1)


def test_peak_memory_is_the_high_water_mark_or_unknown(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython3\nVmPeak:\t  900000 kB\nVmHWM:\t  123456 kB\nVmRSS:\t  1 kB\n", encoding="utf-8")
    assert peak_rss_kib(status) == 123456
    status.write_text("Name:\tpython3\n", encoding="utf-8")
    assert peak_rss_kib(status) is None
    assert peak_rss_kib(tmp_path / "none") is None


def test_the_fresh_process_imports_nothing_of_the_command_line(bundle: Bundle, tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", blob_image())
    words = [str(bundle.path), str(tmp_path / "image.npy"), "ort", "fp32", "1", "{}"]
    code = (
        "import sys; from edgewright.pipeline.first_detections import main; main(sys.argv[1:]);"
        "sys.exit(sorted({'click', 'rich', 'yaml', 'jinja2', 'torch', 'onnx', 'psutil'} & set(sys.modules)).__repr__())"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
