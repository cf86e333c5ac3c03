"""The simulation is itself a program that may be wrong: its releases and its table."""

import importlib.machinery
import importlib.util
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tests.pipeline.test_per_image import IMAGES, good, scene, worse

from edgewright.pipeline.metrics.matched_scores import MatchedScores
from edgewright.pipeline.metrics.matches import Matches, match_boxes

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "simulate_gate"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("simulate_gate", str(SCRIPT))
    spec = importlib.util.spec_from_loader("simulate_gate", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["simulate_gate"] = module
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pool() -> Matches:
    """The same network twice, and a worse one, on the same images."""
    truth: dict[str, Any] = {"images": [], "annotations": []}
    results: list[Any] = []
    for variant, quality in enumerate((good, good, worse)):
        labels, found = scene(quality)
        truth["categories"] = labels["categories"]
        truth["images"] += [{"id": image["id"] + 1000 * variant} for image in labels["images"]]
        for records, target in ((labels["annotations"], truth["annotations"]), (found, results)):
            target += [{**record, "image_id": record["image_id"] + 1000 * variant} for record in records]
    return match_boxes(truth, results)


def test_a_release_of_two_equal_networks_has_no_drop(script: ModuleType, pool: Matches) -> None:
    releases = [script.simulate(pool, 0.0, 100, seed) for seed in range(3)]
    assert [release.drop for release in releases] == pytest.approx([0.0] * 3, abs=1e-12)
    assert not any(release.fails or release.undecided for release in releases)


def test_a_release_of_a_worse_network_drops_by_what_the_whole_pool_drops(script: ModuleType, pool: Matches) -> None:
    scores = MatchedScores(pool, names={"AP"})
    better, poor = (scores.values(np.arange(3 * IMAGES) // IMAGES == variant)[0] for variant in (0, 2))
    drops = [script.simulate(pool, 1.0, 100, seed).drop for seed in range(20)]
    assert np.mean(drops) == pytest.approx(better - poor, abs=0.03)


def test_drawn_images_score_as_often_as_they_are_drawn(script: ModuleType, pool: Matches) -> None:
    drawn = script.Drawn(pool, np.array([5, 0, 5, 130]))
    weights = np.zeros(3 * IMAGES, np.int64)
    weights[[0, 5, 130]] = 1, 3, 2
    expected = MatchedScores(pool, names={"AP"}).values(weights)
    assert drawn.values(np.array([1, 1, 2, 2])) == pytest.approx(expected)


def test_the_stated_drop_is_looked_for_where_the_true_one_crosses_it(script: ModuleType) -> None:
    rows = [script.Row(share, share / 10, 0.03, 0.0, 0.0, 0.0) for share in (0.0, 0.2, 0.4)]
    assert script.detectable_share(rows) == pytest.approx(0.3)


def test_the_page_and_the_figure_show_every_row(script: ModuleType, tmp_path: Path) -> None:
    rows = [script.Row(share, share / 10, 0.03, share, 0.1, 0.0) for share in (0.0, 0.5)]
    middle = script.Row(0.25, 0.025, 0.025, 0.8, 0.2, 0.0)
    text = script.page(rows, middle, 288, Namespace(releases=200, resamples=1000))
    assert [line.count("|") for line in text.splitlines() if line.startswith("|")] == [8] * 5
    assert text.index("| 0.00 |") < text.index("**at the stated drop**") < text.index("| 0.50 |")
    script.draw(rows, middle, tmp_path / "figure.svg")
    assert "<svg" in (tmp_path / "figure.svg").read_text(encoding="utf-8")
