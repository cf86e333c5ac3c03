"""Signals of pictures and results, the reference that is learned from them, and alarms when they drift away."""

from collections.abc import Callable
from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from edgewright.pipeline.live.alarm import Event
from edgewright.pipeline.live.drift import Drift
from edgewright.pipeline.live.reference import Reference, class_distance, distance, learn
from edgewright.pipeline.live.signals import (
    PICTURE,
    FrameSignals,
    class_shares,
    scene_distance,
    signals_of,
    values_of,
)
from edgewright.runtime.errors import DataError
from edgewright.runtime.results import Detections, Frame, Image, SemanticMap

LABELS = ("bolt", "nut", "washer")
SETTINGS = {"conf_threshold": 0.25, "iou_threshold": 0.65}
LEVELS = np.linspace(0, 1, 101)


@cache
def shapes() -> Image:
    random = np.random.default_rng(7)
    image = np.full((120, 160, 3), (60, 80, 100), np.uint8)
    for _ in range(30):
        x, y = (int(v) for v in random.integers(0, 150, 2))
        cv2.rectangle(image, (x, y), (x + 12, y + 9), tuple(int(v) for v in random.integers(0, 255, 3)), -1)
    return image


@cache
def noise(number: int) -> Any:
    return np.random.default_rng(number).normal(0, 2, shapes().shape).astype(np.float32)


def scene(seed: int, *, light: float = 1.0) -> Image:
    """A steady picture of shapes with a little noise."""
    return np.asarray(np.clip(shapes() * np.float32(light) + noise(seed % 16), 0, 255), np.uint8)


def found(seed: int, *, classes: tuple[float, ...] = (0.5, 0.3, 0.2), score: float = 0.7) -> Detections:
    random = np.random.default_rng(seed)
    count = int(random.integers(4, 8))
    corner = random.uniform(0, 100, (count, 2))
    boxes = np.concatenate([corner, corner + random.uniform(10, 30, (count, 2))], axis=1).astype(np.float32)
    scores = np.clip(random.normal(score, 0.1, count), 0.25, 1).astype(np.float32)
    return Detections(boxes, scores, random.choice(3, count, p=classes).astype(np.int64))


@cache
def plain(seed: int) -> FrameSignals:
    return signals(seed)


def signals(
    seed: int, *, change: Callable[[Image], Image] = lambda image: image, light: float = 1.0, **results: Any
) -> FrameSignals:
    frame = Frame(change(scene(seed, light=light)), seed, 0.0, "test")
    return signals_of(frame, found(seed, **results), len(LABELS))


@pytest.fixture(scope="module", name="reference")
def reference_fixture() -> Reference:
    return learn([plain(seed) for seed in range(400)], source="test", settings=SETTINGS, window=50)


def drift(reference: Reference, **settings: Any) -> Drift:
    return Drift(reference, LABELS, settings={**SETTINGS, **settings}, window=50)


@given(
    st.lists(st.floats(-100, 100), min_size=101, max_size=101),
    st.lists(st.floats(-100, 100), min_size=101, max_size=101),
)
def test_the_distance_is_that_of_wasserstein(ours: list[float], theirs: list[float]) -> None:
    """scipy's, on the 101 values that the percentiles of as many values are."""
    quantiles = np.quantile(np.array(theirs), LEVELS)
    assert distance(np.array(ours), quantiles) == pytest.approx(wasserstein_distance(ours, theirs), abs=1e-9)


@given(st.lists(st.integers(0, 9), min_size=4, max_size=4), st.lists(st.integers(0, 9), min_size=4, max_size=4))
def test_the_distance_of_classes_is_the_share_that_has_to_change(ours: list[int], theirs: list[int]) -> None:
    if not sum(ours) or not sum(theirs):
        return
    a, b = np.array(ours) / sum(ours), np.array(theirs) / sum(theirs)
    got = class_distance(a, b)
    assert 0 <= got <= 1
    # What is there in both stays, and all else changes.
    assert got == pytest.approx(1 - np.minimum(a, b).sum())


def test_signals_of_a_picture_are_what_their_names_say() -> None:
    def of(image: Image) -> dict[str, float]:
        one = signals_of(Frame(image, 0, 0.0, "test"), found(1), 3)
        return {name: float(v[0]) for name, v in values_of([one], one.thumbnail).items() if name in names}

    names = {signal.name for signal in PICTURE}
    plain = of(scene(1))
    darker, blurred = of(scene(1, light=0.5)), of(np.asarray(cv2.GaussianBlur(scene(1), (0, 0), 3), np.uint8))
    swapped = of(np.ascontiguousarray(scene(1)[..., ::-1]))
    assert plain["scene"] == pytest.approx(0, abs=1e-6)
    assert darker["brightness"] == pytest.approx(plain["brightness"] / 2, abs=2)
    assert darker["sharpness"] == pytest.approx(plain["sharpness"], abs=0.4)
    assert blurred["sharpness"] < plain["sharpness"] - 2
    assert blurred["brightness"] == pytest.approx(plain["brightness"], abs=1)
    assert (swapped["red"], swapped["blue"]) == pytest.approx((plain["blue"], plain["red"]), abs=1e-6)
    # OpenCV's own mean, and ITU-R BT.601.
    blue, green, red = cv2.mean(scene(1))[:3]
    assert plain["brightness"] == pytest.approx(0.114 * blue + 0.587 * green + 0.299 * red, abs=0.01)


def test_a_scene_is_known_again_in_any_light_and_another_one_is_not() -> None:
    one = signals(1)
    dark, other = signals(2, light=0.6), signals(3, change=lambda image: np.ascontiguousarray(image[::-1]))
    far = scene_distance(np.stack([one.thumbnail, dark.thumbnail, other.thumbnail]), one.thumbnail)
    assert far[0] == pytest.approx(0, abs=1e-9)
    assert far[1] < 0.02
    assert far[2] > 0.3


def test_maps_have_shares_of_pixels_and_no_objects() -> None:
    ids = np.zeros((10, 10), np.int64)
    ids[:3] = 2
    one = signals_of(Frame(scene(1), 0, 0.0, "test"), SemanticMap(ids), 3)
    assert one.objects is None
    assert class_shares([one]).tolist() == pytest.approx([0.7, 0.0, 0.3])
    reference = learn([one] * 200, source="test", settings=SETTINGS)
    assert set(reference.signals) == {signal.name for signal in PICTURE}
    assert reference.classes is not None


def test_what_is_as_it_was_raises_nothing(reference: Reference) -> None:
    watching = drift(reference)
    events = [event for seed in range(1000, 1600) for event in watching.take(plain(seed), seed, 0.0)]
    assert events == []
    assert watching.alarms == ()
    assert {"brightness", "sharpness", "scores", "sizes", "x", "classes", "scene"} <= set(watching.readings)


CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "darker": ("brightness", {"light": 0.5}),
    "blurred": ("sharpness", {"change": lambda image: cv2.GaussianBlur(image, (0, 0), 3)}),
    "colours exchanged": ("red", {"change": lambda image: np.ascontiguousarray(image[..., ::-1])}),
    "camera moved": ("scene", {"change": lambda image: np.roll(image, 60, axis=1)}),
    "less sure": ("scores", {"score": 0.45}),
    "a class missing": ("classes", {"classes": (0.0, 0.6, 0.4)}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_raises_its_alarm_once_and_its_end_clears_it_once(reference: Reference, change: str) -> None:
    signal, how = CHANGES[change]
    watching, events = drift(reference), list[Event]()
    for seed in range(1000, 1500):
        one = signals(seed, **how) if 1150 <= seed < 1300 else plain(seed)
        events += watching.take(one, seed, 0.0)
    own = [event for event in events if event.what == signal]
    assert [event.raised for event in own] == [True, False]
    assert 1150 < own[0].frame <= 1300 < own[1].frame
    assert own[0].value > own[0].limit
    assert signal in own[0].text
    assert watching.alarms == ()


def test_results_at_another_threshold_are_not_compared_and_the_reason_is_said(reference: Reference) -> None:
    watching = drift(reference, conf_threshold=0.5)
    for seed in range(1000, 1100):
        watching.take(signals(seed, score=0.45, classes=(0.0, 0.0, 1.0)), seed, 0.0)
    assert "conf_threshold was 0.25 for the reference and is 0.5" in watching.not_compared
    assert set(watching.readings) == {signal.name for signal in PICTURE}


def test_too_short_a_reference_is_refused() -> None:
    with pytest.raises(DataError, match="199 frames are no reference, at least 200"):
        learn([signals(1)] * 199, source="test", settings={})


def test_frames_without_any_object_can_be_learned_and_objects_then_raise_an_alarm() -> None:
    def empty(seed: int) -> FrameSignals:
        return signals_of(Frame(scene(seed), seed, 0.0, "test"), Detections.empty(), 3)

    reference = learn([empty(seed) for seed in range(200)], source="test", settings=SETTINGS)
    watching = Drift(reference, LABELS, settings=SETTINGS, window=50)
    events = [event for seed in range(300, 450) for event in watching.take(signals(seed), seed, 0.0)]
    assert [event.what for event in events] == ["detections"]
