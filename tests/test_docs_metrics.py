"""docs/metrics.md names every measurement that `evaluate` can write, and every kind of labelled data."""

import re
from pathlib import Path

import numpy as np
import pytest
from tests.pipeline.test_metrics_coco import one_object

from edgewright.pipeline import datasets
from edgewright.pipeline.metrics.boundary import BoundaryCounts
from edgewright.pipeline.metrics.cross_entropy import NAME as CROSS_ENTROPY
from edgewright.pipeline.metrics.image_sums import sums_of
from edgewright.pipeline.metrics.panoptic import SegmentCounts
from edgewright.pipeline.metrics.semantic import PixelCounts
from edgewright.pipeline.per_image import PerImage, matched
from edgewright.runtime import plugins


@pytest.fixture(scope="module")
def text(checkout: Path) -> str:
    return (checkout / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_every_measurement_is_explained(text: str) -> None:
    truth, results = one_object()
    detected = matched(truth, None, results, max_detections=100, proposals=results)
    labels, one = ("sky", "road"), [np.ones((2, 3))]
    edges, segments = sums_of([1], one, (2, 3)), sums_of([1], [np.ones((2, 4))], (2, 4))
    mapped = PerImage(
        pixels=PixelCounts(labels, None, None, sums_of([1], one, (2, 3))),
        boundaries=BoundaryCounts(labels, None, edges),
        segments=SegmentCounts(labels, np.array([True, False]), segments),
    )
    names = {CROSS_ENTROPY, *detected.scores().names, *mapped.scores().names}
    said = set(re.findall(r"`([^`]+)`", text))
    plain = {re.sub(r"/.*", "/LABEL", name) for name in names}
    # "`AP-small` ..." stands for the other sizes, "`F1`, ..., and with `/LABEL`" for those of a class.
    unsaid = {
        name for name in plain - said if not re.match(r"A[PR]-(medium|large)|(precision|recall|accuracy|F1)/", name)
    }
    assert {name for name in unsaid if name.removeprefix("proposal-") not in ("recall50", "recall70")} == set()


def test_every_kind_of_labelled_data_is_explained(text: str) -> None:
    kinds = set(plugins.names(datasets.__name__)) - {"folder"}
    assert {kind for kind in kinds if f"| `{kind}:" not in text} == set()
