import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgewright.calibration.plan import Plan
from edgewright.calibration.search import Found, Log, Score, search
from edgewright.runtime.errors import CalibrationError

PERCENTILE, MINMAX, FLOAT_DEPTHWISE = (
    Plan(collector="percentile"), Plan(collector="minmax"), Plan(collector="percentile", depthwise=False)
)  # fmt: skip
LAYERS = tuple(f"layer{n}" for n in range(16))


class Bench:
    """A network whose drop falls by a share with each of its worst layers in float, and whose time rises with it."""

    def __init__(self, drops: dict[str, float], ratios: dict[str, float], *, per_layer: float = 0.0) -> None:
        self.drops, self.ratios, self.per_layer = drops, ratios, per_layer
        self.scored: list[str] = []
        self.built: list[str] = []

    def damage(self, plan: Plan) -> float:
        self.built.append(plan.describe())
        return self._drop(plan)

    def ratio(self, plan: Plan) -> tuple[float, tuple[float, float]] | None:
        value = self.ratios[self._key(plan)] + self.per_layer * len(plan.float_layers)
        return value, (value - 0.01, value + 0.01)

    def score(self, plan: Plan) -> Score:
        self.scored.append(plan.describe())
        return Score(value=0.4 - self._drop(plan), drop=self._drop(plan))

    def ranking(self) -> Sequence[str]:
        return LAYERS

    def _key(self, plan: Plan) -> str:
        return plan.model_copy(update={"float_layers": ()}).digest

    def _drop(self, plan: Plan) -> float:
        return self.drops[self._key(plan)] * 0.7 ** len(plan.float_layers)


def bench(drops: Sequence[float], ratios: Sequence[float], *, per_layer: float = 0.0) -> Bench:
    keys = [plan.digest for plan in (PERCENTILE, MINMAX, FLOAT_DEPTHWISE)]
    return Bench(dict(zip(keys, drops, strict=False)), dict(zip(keys, ratios, strict=False)), per_layer=per_layer)


def found(workbench: Bench, *plans: Plan, budget: float = 0.005, log: Log | None = None) -> Found:
    return search(workbench, plans, budget=budget, log=log or Log(None, "test"))


def test_of_plans_inside_the_budget_the_fastest_is_chosen() -> None:
    result = found(bench([0.004, 0.001, 0.0], [0.4, 0.6, 0.7]), PERCENTILE, MINMAX, FLOAT_DEPTHWISE)
    assert result.chosen is not None
    assert result.chosen.plan == PERCENTILE
    assert "2.50 times as fast" in result.reason


def test_of_equally_fast_plans_the_less_damaged_is_scored_first() -> None:
    workbench = bench([0.004, 0.001], [0.40, 0.42])
    result = found(workbench, PERCENTILE, MINMAX)
    assert result.chosen is not None
    assert result.chosen.plan == MINMAX
    assert workbench.scored == ["minmax"]


def test_the_worst_layers_go_back_to_float_until_the_budget_is_kept() -> None:
    """0.03 * 0.7**n is below 0.005 from n = 6 on; of 1, 2, 4, 8 layers 8 is the first, and 6 is enough."""
    result = found(bench([0.03], [0.4], per_layer=0.02), PERCENTILE)
    assert result.chosen is not None
    assert result.chosen.plan.float_layers == tuple(sorted(LAYERS[:6]))


def test_a_plan_that_is_not_faster_is_never_chosen() -> None:
    workbench = bench([0.0, 0.0], [1.05, 0.99])
    result = found(workbench, PERCENTILE, MINMAX)
    assert result.chosen is None
    assert workbench.scored == []
    assert result.reason == "no plan is faster than the float model here: the best takes 0.99 of its time"


def test_a_plan_outside_the_budget_is_never_chosen() -> None:
    """With 6 layers in float it would keep the budget, but be slower than the float model."""
    result = found(bench([0.03], [0.8], per_layer=0.06), PERCENTILE)
    assert result.chosen is None
    assert "every plan that is faster loses more than 0.50 points" in result.reason


def test_a_drop_that_the_images_show_is_not_excused_by_the_budget() -> None:
    class Sure(Bench):
        def score(self, plan: Plan) -> Score:
            return Score(value=0.4, drop=0.004, interval=(-0.008, -0.002), outcome="fail")

    workbench = Sure({PERCENTILE.digest: 0.004}, {PERCENTILE.digest: 0.98})
    assert found(workbench, PERCENTILE).chosen is None


def test_a_plan_that_cannot_be_built_is_left_out_with_its_reason() -> None:
    class Broken(Bench):
        def damage(self, plan: Plan) -> float:
            if plan == MINMAX:
                raise CalibrationError("no such kernel")
            return super().damage(plan)

    workbench = Broken({PERCENTILE.digest: 0.0}, {PERCENTILE.digest: 0.5})
    said: list[str] = []
    result = search(workbench, [MINMAX, PERCENTILE], budget=0.005, log=Log(None, "test"), tell=said.append)
    assert "left out: minmax: no such kernel (plan 1 of 2)" in said
    assert [trial.problem for trial in result.trials] == ["no such kernel", None]
    assert result.chosen is not None
    with pytest.raises(CalibrationError, match="no plan could be built: no such kernel"):
        found(workbench, MINMAX)


def test_what_could_not_be_built_is_tried_again(tmp_path: Path) -> None:
    class Mended(Bench):
        broken = True

        def damage(self, plan: Plan) -> float:
            if self.broken:
                raise CalibrationError("a package is missing")
            return super().damage(plan)

    workbench, path = Mended({PERCENTILE.digest: 0.0}, {PERCENTILE.digest: 0.5}), tmp_path / "log.json"
    with pytest.raises(CalibrationError, match="a package is missing"):
        found(workbench, PERCENTILE, log=Log(path, "a"))
    workbench.broken = False
    result = found(workbench, PERCENTILE, log=Log(path, "a"))
    assert result.chosen is not None
    assert result.chosen.problem is None


def test_an_interrupted_search_does_nothing_twice(tmp_path: Path) -> None:
    path, first = tmp_path / "log.json", bench([0.03], [0.4], per_layer=0.02)

    def stop(text: str) -> None:
        if text.startswith("score") and len(first.scored) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(first, [PERCENTILE], budget=0.005, log=Log(path, "a"), tell=stop)
    again = bench([0.03], [0.4], per_layer=0.02)
    result = found(again, PERCENTILE, log=Log(path, "a"))
    assert result.chosen is not None
    assert not set(first.scored) & set(again.scored)
    assert len(json.loads(path.read_text())["trials"]) == len(result.trials)


def test_a_log_of_another_network_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    found(bench([0.0], [0.5]), PERCENTILE, log=Log(path, "a"))
    assert Log(path, "b").trials == {}


def test_the_talk_says_how_far_the_search_is_and_how_long_it_will_take() -> None:
    said: list[str] = []
    workbench = bench([0.03, 0.03], [0.4, 0.6])
    search(workbench, [PERCENTILE, MINMAX], budget=0.005, log=Log(None, "test"), tell=said.append)
    assert said[0] == "build and time: percentile (plan 1 of 2)"
    assert said[1] == "build and time: minmax (plan 2 of 2, at most 0 s left)"
    assert said[2] == "score: percentile (candidate 1 of 2)"
    assert "rank the layers" in said
