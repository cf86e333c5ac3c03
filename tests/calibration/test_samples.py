from collections import Counter
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.calibration.samples import CalibrationSet, Candidate, choose
from edgewright.runtime.errors import CalibrationError, SourceError
from edgewright.runtime.results import Image


def picture(seed: int, brightness: float) -> Image:
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(brightness, 20, (24, 32, 3)), 0, 255).astype(np.uint8)


def candidate(number: int, *, brightness: float = 120.0, classes: tuple[str, ...] = ()) -> Candidate:
    return Candidate(
        f"{number:04d}.jpg", f"{number:064x}", partial(picture, number, brightness), classes, (0.01,) * len(classes)
    )


def chosen(candidates: list[Candidate], count: int, **options: object) -> CalibrationSet:
    return choose(candidates, source="images", count=count, fewest=1, **options)  # type: ignore[arg-type]


def test_the_same_seed_chooses_the_same_images_and_another_seed_others() -> None:
    everything = [candidate(n) for n in range(200)]
    first, again, other = (chosen(everything, 20, seed=seed) for seed in (1, 1, 2))
    assert first.audit == again.audit
    assert first.audit.digest != other.audit.digest


def test_rare_classes_are_chosen_before_more_of_the_frequent_ones() -> None:
    everything = [candidate(n, classes=("cat",)) for n in range(95)] + [
        candidate(n, classes=("dog",)) for n in range(95, 100)
    ]
    counts = chosen(everything, 25).audit.classes
    # By chance one dog in four sets of 20 would be left out.
    assert counts["dog"] == 5
    assert counts["cat"] == 20


def test_dark_images_are_chosen_although_they_are_few() -> None:
    everything = [candidate(n, brightness=130) for n in range(190)] + [
        candidate(n, brightness=40) for n in range(190, 200)
    ]
    audit = chosen(everything, 50).audit
    assert sum(audit.brightness[:3]) >= 8


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 5))
def test_no_image_is_chosen_twice(available: int, count: int, seed: int) -> None:
    result = chosen([candidate(n) for n in range(available)], count, seed=seed)
    names = Counter(image.name for image in result.images)
    assert len(names) == min(available, count) == result.audit.count
    assert [name for name, _ in result.audit.files] == [image.name for image in result.images]


def test_the_audit_names_classes_that_no_image_shows() -> None:
    audit = chosen([candidate(n, classes=("cat",)) for n in range(10)], 5, labels=("cat", "unicorn")).audit
    assert audit.unseen == ("unicorn",)


def test_images_that_are_scored_on_are_refused_unless_insisted_on() -> None:
    everything = [candidate(n) for n in range(40)]
    scored = {everything[3].sha256}
    with pytest.raises(CalibrationError, match=r"1 of 40 calibration images are scored on as well \(first: 0003.jpg\)"):
        chosen(everything, 40, evaluation=scored)
    assert chosen(everything, 40, evaluation=scored, allow_overlap=True).audit.overlap == ("0003.jpg",)


def test_eight_images_are_too_few() -> None:
    with pytest.raises(CalibrationError, match="8 calibration images, at least 32 are wanted"):
        choose([candidate(n) for n in range(8)], source="images")


def test_copies_of_one_picture_count_once() -> None:
    copies = [Candidate(f"{n}.jpg", "a" * 64, partial(picture, 1, 100)) for n in range(50)]
    with pytest.raises(CalibrationError, match=r"1 calibration images \(50 files, but the same pictures again\)"):
        choose(copies, source="images")


def test_a_corrupt_image_in_the_middle_is_named() -> None:
    def broken() -> Image:
        raise SourceError("truncated")

    everything = [candidate(n) for n in range(40)]
    everything[20] = Candidate("bad.jpg", "b" * 64, broken)
    with pytest.raises(CalibrationError, match=r"calibration image bad.jpg cannot be read \(truncated\)"):
        chosen(everything, 40)


def test_pictures_of_one_colour_are_refused() -> None:
    everything = [candidate(n) for n in range(39)]
    everything.append(Candidate("cap.jpg", "c" * 64, lambda: np.full((8, 8, 3), 7, np.uint8)))
    with pytest.raises(CalibrationError, match=r"1 calibration images show one colour only \(first: cap.jpg\)"):
        chosen(everything, 40)
