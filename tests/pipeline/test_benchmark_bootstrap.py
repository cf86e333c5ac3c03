"""The benchmark of the resamples times results such as matching gives, and all of its program."""

import importlib.machinery
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgewright.pipeline.metrics.matched_scores import MatchedScores

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "benchmark_bootstrap"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("benchmark_bootstrap", str(SCRIPT))
    spec = importlib.util.spec_from_loader("benchmark_bootstrap", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_made_up_results_are_such_as_matching_gives(script: ModuleType) -> None:
    matches = script.made_up(images=50, classes=5, seed=0)
    values = MatchedScores(matches).values(np.random.default_rng(0).multinomial(50, np.full(50, 1 / 50)))
    assert ((values >= 0) & (values <= 1)).all()
    assert not (matches.hit & matches.ignored).any()


def test_candidate_and_baseline_differ_in_what_is_found_and_not_in_the_objects(script: ModuleType) -> None:
    one, other = (script.made_up(images=50, classes=5, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(one.object_image, other.object_image)
    np.testing.assert_array_equal(one.object_areas, other.object_areas)
    assert not np.array_equal(one.score, other.score)


def test_the_program_prints_times_and_memory() -> None:
    words = [sys.executable, str(SCRIPT), "--images", "20", "--classes", "3", "--resamples", "2"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines[:3]] == ["AP alone", "COCO's measurements", "all measurements"]
    assert lines[3].startswith("peak memory ")
