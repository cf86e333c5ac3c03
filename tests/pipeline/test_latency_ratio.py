"""The ratio of latencies measured in turn, on durations that are drawn with a known one."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgewright.pipeline.gate_speed import judge_ratio
from edgewright.pipeline.latency_ratio import Launch, _student, latency_ratio
from edgewright.pipeline.report.schema import LatencyRatio

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "simulate_latency"


@pytest.fixture(scope="module", name="script")
def script_fixture() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("simulate_latency", str(SCRIPT))
    spec = importlib.util.spec_from_loader("simulate_latency", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["simulate_latency"] = module
    loader.exec_module(module)
    return module


def constant(candidate: float, baseline: float, control: float) -> Launch:
    return Launch(*(np.full((6, 5), value) for value in (candidate, baseline, control)))


def test_durations_that_never_vary_have_their_exact_ratio() -> None:
    found = latency_ratio([constant(11, 10, 10)] * 3, 50)
    assert (found.candidate, found.baseline) == pytest.approx((11, 10))
    assert found.ratio == pytest.approx(1.1)
    assert found.interval == pytest.approx((1.1, 1.1))
    assert found.noise == pytest.approx(0)


def test_a_baseline_that_differs_from_itself_is_noise() -> None:
    found = latency_ratio([constant(11, 10, 12)] * 3, 50)
    # The control is 20 % off in every launch; how far it might be off in another only adds to that.
    assert found.noise >= 0.2
    assert found.interval[0] < 1 < found.interval[1]


def test_processes_that_differ_widen_the_interval_although_their_runs_do_not() -> None:
    calm = latency_ratio([constant(10, 10, 10)] * 3, 50)
    varying = latency_ratio([constant(10, 10, 10), constant(11, 10, 10), constant(10, 11, 10)], 50)
    assert varying.interval[0] < calm.interval[0]
    assert varying.interval[1] > calm.interval[1]


def test_percentiles_are_taken_of_a_whole_launch() -> None:
    late = np.full((6, 5), 10.0)
    late[0, 0] = 100.0
    launch = Launch(late, np.full((6, 5), 10.0), np.full((6, 5), 10.0))
    assert latency_ratio([launch] * 3, 50).candidate == pytest.approx(10)
    assert latency_ratio([launch] * 3, 99).candidate == pytest.approx(np.percentile(late, 99))


def test_one_launch_does_not_show_how_launches_differ() -> None:
    with pytest.raises(ValueError, match="1 launches"):
        latency_ratio([constant(1, 1, 1)], 50)


@pytest.mark.parametrize(("freedom", "quantile"), [(2, 4.303), (3, 3.182), (5, 2.571), (10, 2.228), (30, 2.042)])
def test_students_t_is_that_of_the_tables(freedom: int, quantile: float) -> None:
    # Abramowitz & Stegun, "Handbook of Mathematical Functions", table 26.10, A = 0.95; the series is coarse for 2.
    assert _student(0.95, freedom) == pytest.approx(quantile, rel=0.04 if freedom == 2 else 0.01)


def made(ratio: float, interval: tuple[float, float], noise: float) -> LatencyRatio:
    return LatencyRatio(
        name="latency.infer.p50", candidate=ratio, baseline=1, ratio=ratio, interval=interval, noise=noise
    )


@pytest.mark.parametrize(
    ("interval", "noise", "outcome"),
    [
        ((0.98, 1.09), 0.02, "pass"),
        ((1.11, 1.15), 0.02, "fail"),
        ((1.05, 1.12), 0.02, "undecided"),
        # The machine is noisier than the limit leaves room for: only what lies clear of the noise is decided.
        ((0.98, 1.09), 0.15, "undecided"),
        ((1.11, 1.15), 0.15, "undecided"),
        ((0.50, 0.60), 0.15, "pass"),
        ((2.50, 3.50), 0.15, "fail"),
    ],
)
def test_a_ratio_is_decided_only_clear_of_the_limit_and_of_the_noise(
    interval: tuple[float, float], noise: float, outcome: str
) -> None:
    assert judge_ratio(made(sum(interval) / 2, interval, noise), 1.10) == outcome


@pytest.mark.parametrize("machine", ["quiet", "ordinary", "restless", "hopeless"])
def test_equal_networks_hardly_ever_fail_on_any_machine(script: ModuleType, machine: str) -> None:
    found = script.outcomes(script.MACHINES[machine], 1.0, 40)
    assert found.failed <= 0.05
    # 95 % is meant; of 40, fewer than 34 would be met by chance once in 50 such tests.
    assert found.covered >= 34 / 40


def test_what_is_a_fifth_slower_fails_at_a_limit_of_a_tenth_on_an_ordinary_machine(script: ModuleType) -> None:
    assert script.outcomes(script.MACHINES["ordinary"], 1.2, 30).failed >= 0.8


def test_a_hopeless_machine_says_that_it_cannot_tell(script: ModuleType) -> None:
    assert script.outcomes(script.MACHINES["hopeless"], 1.0, 20).undecided >= 0.9


def test_the_page_of_the_simulation_has_every_machine(script: ModuleType) -> None:
    found = script.outcomes(script.MACHINES["quiet"], 1.0, 2)
    page = script.page([script.row("quiet", 1.0, found)], 2)
    assert "| quiet | 1.00 | 100.0% |" in page
    assert all(f"| {name} | " in page for name in script.MACHINES)
