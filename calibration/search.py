"""The fastest quantization whose loss of accuracy stays inside a budget, or the reason why there is none."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from edgewright.calibration.plan import Plan
from edgewright.runtime.atomic import atomic_file
from edgewright.runtime.errors import CalibrationError
from edgewright.runtime.spec import Strict

_log = logging.getLogger(__name__)
# Plans whose speed differs by less are taken as equally fast; the less damaged one is tried first.
_SAME_SPEED = 0.05
# Speed that is not worth a second model to look after.
LEAST_GAIN = 0.02


class Score(Strict):
    """A metric of a model, higher is better, as a fraction; `drop` is how far it lies below that of the float model, with the
    interval of that drop where the metric can be resampled."""

    value: float
    drop: float = 0.0
    interval: tuple[float, float] | None = None
    outcome: Literal["pass", "fail", "undecided"] = "pass"


class Trial(Strict):
    """One plan that was tried. `damage` is without labels; `ratio` of inference times to the float model's, below 1 is faster;
    None where the engine cannot run here."""

    plan: Plan
    damage: float
    ratio: float | None = None
    ratio_interval: tuple[float, float] | None = None
    score: Score | None = None
    problem: str | None = None

    def is_faster(self) -> bool:
        """Whether the time is surely below that of the float model, or cannot be known here."""
        if self.ratio is None or self.ratio_interval is None:
            return True
        return self.ratio <= 1 - LEAST_GAIN and self.ratio_interval[1] < 1


class Workbench(Protocol):
    """What a search needs to know of a target: built, timed and scored elsewhere, so that the search knows no metric."""

    def damage(self, plan: Plan) -> float: ...

    def ratio(self, plan: Plan) -> tuple[float, tuple[float, float]] | None: ...

    def score(self, plan: Plan) -> Score: ...

    def ranking(self) -> Sequence[str]:
        """Names of the layers, those that suffer most first."""
        ...


@dataclass(frozen=True)
class Found:
    """The chosen trial, None when the float model stays, and why."""

    chosen: Trial | None
    reason: str
    trials: tuple[Trial, ...]


class Log:
    """The trials so far, kept in a file so that an interrupted search goes on where it was."""

    def __init__(self, path: Path | None, identity: str) -> None:
        self.path, self.identity = path, identity
        self.trials: dict[str, Trial] = {}
        if path is not None and path.is_file():
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["identity"] == self.identity:
                trials = [Trial.model_validate(entry) for entry in content["trials"]]
                self.trials = {trial.plan.digest: trial for trial in trials}
                _log.info("the search continues with %d trials of %s", len(trials), path)
            else:
                _log.warning("the search starts anew: %s is of another network, data or engine", path)
        except (OSError, ValueError, KeyError, TypeError) as err:
            _log.warning("the search starts anew: %s cannot be read (%s)", path, err)

    def add(self, trial: Trial) -> Trial:
        """Remember a trial, on disk too."""
        self.trials[trial.plan.digest] = trial
        if self.path is not None:
            content = {"identity": self.identity, "trials": [t.model_dump(mode="json") for t in self.trials.values()]}
            with atomic_file(self.path) as temporary:
                temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        return trial


def search(
    workbench: Workbench,
    plans: Sequence[Plan],
    *,
    budget: float,
    log: Log,
    widen: bool = True,
    tell: Callable[[str], None] = lambda text: None,
) -> Found:
    """The fastest of `plans`, or of their variants with the worst layers in float, whose drop is at most `budget`.

    A plan that is not faster than the float model, or loses more, is never chosen. When none of the plans keeps the budget,
    the layers that suffer most go back to float, twice as many in each step; unless only `plans` themselves are wanted.
    """
    pace = _Pace(len(plans), "plan", tell)
    compared = [pace.timed(partial(_compared, workbench, plan, log)) for plan in plans]
    usable = [trial for trial in compared if trial.problem is None]
    if not usable:
        raise CalibrationError(f"no plan could be built: {compared[0].problem if compared else 'there is none'}")
    faster = [trial for trial in usable if trial.is_faster()]
    inside = _first_inside(_by_speed(faster), workbench, budget, log, tell)
    if inside is None and faster and widen:
        inside = _refined(_by_damage(faster)[0].plan, workbench, budget, log, tell)
    return Found(inside, _reason(inside, faster, budget, log), tuple(log.trials.values()))


def kept_because(plan: Plan, score: Score, ratio: float | None, budget: float) -> str:
    """What a plan costs and gains, in a line; `ratio` is its time over that of the float model."""
    speed = "" if ratio is None else f", {1 / ratio:.2f} times as fast"
    return f"{plan.describe()}: drop {100 * score.drop:.2f} of {100 * budget:.2f} points{speed}"


class _Pace:
    """Says how many of at most `count` trials are done and how long the others will take, by those before them."""

    def __init__(self, count: int, what: str, tell: Callable[[str], None]) -> None:
        self._count, self._what, self._tell = count, what, tell
        self._begun, self._started_s = 0, time.monotonic()

    def timed(self, trial: Callable[[Callable[[str], None]], Trial]) -> Trial:
        """What `trial` gives; it gets the function to talk with."""
        self._begun += 1
        return trial(self._say)

    def _say(self, text: str) -> None:
        done = self._begun - 1
        left = ""
        if done:
            seconds = (time.monotonic() - self._started_s) / done * (self._count - done)
            left = f", at most {_duration(seconds)} left"
        self._tell(f"{text} ({self._what} {self._begun} of {self._count}{left})")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _compared(workbench: Workbench, plan: Plan, log: Log, tell: Callable[[str], None]) -> Trial:
    """The trial of a plan with its damage and speed."""
    known = log.trials.get(plan.digest)
    # What could not be built is tried again: a package may have been installed since.
    if known is not None and known.problem is None:
        return known
    tell(f"build and time: {plan.describe()}")
    try:
        damage = workbench.damage(plan)
        timing = workbench.ratio(plan)
    except CalibrationError as err:
        tell(f"left out: {plan.describe()}: {err}")
        return log.add(Trial(plan=plan, damage=1.0, problem=str(err)))
    ratio, interval = timing if timing is not None else (None, None)
    return log.add(Trial(plan=plan, damage=damage, ratio=ratio, ratio_interval=interval))


def _scored(workbench: Workbench, trial: Trial, log: Log, tell: Callable[[str], None]) -> Trial:
    if trial.score is not None:
        return trial
    tell(f"score: {trial.plan.describe()}")
    return log.add(trial.model_copy(update={"score": workbench.score(trial.plan)}))


def _first_inside(
    trials: Sequence[Trial], workbench: Workbench, budget: float, log: Log, tell: Callable[[str], None]
) -> Trial | None:
    pace = _Pace(len(trials), "candidate", tell)
    for trial in trials:
        scored = pace.timed(partial(_scored, workbench, trial, log))
        if _is_inside(scored, budget):
            return scored
    return None


def _is_inside(trial: Trial, budget: float) -> bool:
    """The measured drop keeps the budget, and the images do not show that the true one does not."""
    return trial.score is not None and trial.score.drop <= budget and trial.score.outcome != "fail"


def _refined(plan: Plan, workbench: Workbench, budget: float, log: Log, tell: Callable[[str], None]) -> Trial | None:
    """The plan with as few of the worst layers in float as keep the budget, as long as that is faster."""
    tell("rank the layers")
    ranking = list(workbench.ranking())
    found, most = None, 0
    steps = list(_doubling(len(ranking)))
    pace = _Pace(len(steps), "step", tell)
    for count in steps:
        trial = pace.timed(partial(_with_float, plan, ranking[:count], workbench, log))
        if not trial.is_faster() or trial.problem is not None:
            break
        scored = _scored(workbench, trial, log, tell)
        if _is_inside(scored, budget):
            found, most = scored, count
            break
    # One step back: half of the last doubling may do, and every layer less in float is time.
    between = most - most // 4
    if found is not None and most // 2 < between < most:
        trial = _with_float(plan, ranking[:between], workbench, log, tell)
        scored = _scored(workbench, trial, log, tell)
        if scored.is_faster() and _is_inside(scored, budget):
            return scored
    return found


def _with_float(
    plan: Plan, layers: Sequence[str], workbench: Workbench, log: Log, tell: Callable[[str], None]
) -> Trial:
    wanted = tuple(sorted({*plan.float_layers, *layers}))
    return _compared(workbench, plan.model_copy(update={"float_layers": wanted}), log, tell)


def _doubling(count: int) -> Iterator[int]:
    """1, 2, 4, ... and three quarters of the layers at most: beyond that little is quantized."""
    step = 1
    while step <= max(1, count * 3 // 4):
        yield step
        step *= 2


def _by_speed(trials: Sequence[Trial]) -> list[Trial]:
    """The fastest first; of those that are about as fast, the least damaged."""
    left, ordered = sorted(trials, key=lambda trial: trial.ratio or 0.0), []
    while left:
        fastest = left[0].ratio or 0.0
        alike = [trial for trial in left if (trial.ratio or 0.0) <= fastest + _SAME_SPEED]
        ordered += _by_damage(alike)
        left = left[len(alike) :]
    return ordered


def _by_damage(trials: Sequence[Trial]) -> list[Trial]:
    return sorted(trials, key=lambda trial: trial.damage)


def _reason(chosen: Trial | None, faster: Sequence[Trial], budget: float, log: Log) -> str:
    if chosen is not None and chosen.score is not None:
        return kept_because(chosen.plan, chosen.score, chosen.ratio, budget)
    timed = [trial for trial in log.trials.values() if trial.ratio is not None]
    if not faster and timed:
        best = min(timed, key=lambda trial: trial.ratio or 1.0)
        return f"no plan is faster than the float model here: the best takes {best.ratio:.2f} of its time"
    drops = [trial.score.drop for trial in log.trials.values() if trial.score is not None]
    return f"every plan that is faster loses more than {100 * budget:.2f} points: the best {100 * min(drops):.2f}"
