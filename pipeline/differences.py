"""Differences of accuracy between a candidate and a baseline, judged by what both found on the same images."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from edgewright.pipeline.console import progress
from edgewright.pipeline.per_image import PerImage
from edgewright.pipeline.policy import Policy
from edgewright.pipeline.report.numbers import shown, signed
from edgewright.pipeline.report.schema import Report
from edgewright.pipeline.statistics import LEAST_IMAGES, Difference, Judgement, paired_bootstrap, too_few
from edgewright.runtime.errors import DataError


@dataclass(frozen=True)
class Differences:
    """For every family of names, such as all that a pattern of the policy stands for, the differences that are known."""

    families: Sequence[dict[str, Difference]] = ()
    notes: tuple[str, ...] = field(default=())

    def get(self, family: int, name: str) -> Difference | None:
        return self.families[family].get(name) if self.families else None


def resampled_differences(
    families: Sequence[Collection[str]],
    candidate: tuple[Report, PerImage | None],
    baseline: tuple[Report, PerImage | None],
    policy: Policy,
) -> Differences:
    """The differences with intervals at the policy's confidence, that of a family's names for all of them at once.

    None where a side has no results image by image, or not of the same data. DataError when they are of other images.
    """
    names = {name for family in families for name in family}
    (report, ours), (other, theirs) = candidate, baseline
    lacking = [side for side, found in (("candidate", ours), ("baseline", theirs)) if found is None]
    if not names:
        return Differences()
    if ours is None or theirs is None:
        return Differences(notes=(f"drops are judged by the values alone: {_lacking(lacking)}",))
    if report.data is None or other.data is None or report.data.digest != other.data.digest:
        return Differences(notes=("drops are judged by the values alone: the data of the two reports differ",))
    if not ours.same_images(theirs):
        raise DataError(
            "the per-image results of candidate and baseline, or of their slices, are of different images; evaluate both again"
        )
    samples = paired_bootstrap(
        ours.scores(names),
        theirs.scores(names),
        resamples=policy.resamples,
        sampled=ours.sampled,
        track=lambda numbers: progress(numbers, total=policy.resamples, description="resample"),
    )
    few = [name for name in samples.names if too_few(samples, name)]
    alone = sorted(names - set(samples.names))
    enough = [[name for name in family if not too_few(samples, name)] for family in families]
    found = [samples.differences(family, policy.confidence) for family in enough]
    how = f"drops are judged by intervals of {policy.confidence:.4g} confidence from {policy.resamples} resamples"
    return Differences(
        found, (f"{how} of {samples.images} {samples.sampled}", *_few(few, samples.sampled), *_alone(alone))
    )


def described(difference: Difference, unit: str) -> str:
    """The difference with its interval in words."""
    low, high = (signed(bound, unit) for bound in difference.interval)
    return f"change {signed(difference.value, unit)} ({low} to {high})"


def doubt(judgement: Judgement, difference: Difference, unit: str) -> str:
    """What the images are too few for, and how many would do."""
    drop = shown(judgement.smallest_drop, unit)
    few = f"undecided: {difference.images} {difference.sampled} show drops from {drop} on"
    if judgement.images_needed is None:
        return f"{few}, and no number of {difference.sampled} would show that there is none"
    return f"{few}, about {_rounded(judgement.images_needed):,} would settle it"


def _rounded(images: int) -> int:
    """Two digits: more would pretend to know the future."""
    unit: int = 10 ** max(len(str(images)) - 2, 0)
    return -(-images // unit) * unit


def _lacking(sides: Sequence[str]) -> str:
    reports = "neither report has" if len(sides) > 1 else f"the {sides[0]}'s report has no"
    return f"{reports} results image by image (`evaluate --json` writes them beside the report)"


def _few(names: Sequence[str], sampled: str) -> tuple[str, ...]:
    if not names:
        return ()
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return (f"judged by the values alone, since fewer than {LEAST_IMAGES} {sampled} hold such objects: {listed}",)


def _alone(names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return ()
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return (f"judged by the values alone, since they cannot be told image by image: {listed}",)
