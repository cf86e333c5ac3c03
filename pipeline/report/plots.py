"""The figures of a report's page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgewright.pipeline.report.figures import INK, Plot, check_picture, style
from edgewright.runtime.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from edgewright.pipeline.history import Trend
    from edgewright.pipeline.metrics.curves import ConfusionMatrix, PrCurve

# Legible on white and on black, and apart from each other for most colour-blind eyes (after Okabe & Ito, 2008).
COLORS = ("#2b7bd4", "#e0721a", "#17976b", "#c44e9a", "#8a6fd1", "#2aa5b5", "#a8851b", "#7a8594")
GOOD, BAD = "#17976b", "#d14343"
# As wide as a telephone; wide pages put several side by side.
_WIDTH_IN = 4.6
_MOST_CURVES = 8
_MOST_CONFUSED = 12


@dataclass(frozen=True)
class Point:
    """One release in the picture of accuracy against latency."""

    label: str
    accuracy: float
    latency_ms: float


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in both, the fastest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.latency_ms, -p.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def accuracy_latency(points: Sequence[Point], metric: str) -> Plot:
    """Accuracy against the median latency, with the Pareto front."""
    front = pareto_front(points)
    figure, axes = _figure(3.2)
    axes.step(
        [p.latency_ms for p in front], [p.accuracy for p in front], where="post", color="#7a8594", lw=1.2, zorder=1
    )
    for point, color in zip(points, cycle(COLORS), strict=False):
        axes.scatter(point.latency_ms, point.accuracy, color=color, s=42, label=_short(point.label), zorder=2)
    axes.set(xlabel="median latency of a frame (ms)", ylabel=metric)
    axes.margins(0.15)
    _legend(axes)
    told = "; ".join(f"{p.label} {metric} {p.accuracy:.3f} at {p.latency_ms:.2f} ms" for p in points)
    best = ", ".join(point.label for point in front)
    return Plot("accuracy-latency", f"{metric} against latency", f"{told}. On the Pareto front: {best}.", figure)


def latency_stages(latencies: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Plot:
    """For every release and stage the median, p95 and p99: `latencies[release][stage]["p50"]` in ms."""
    stages = list(dict.fromkeys(stage for release in latencies.values() for stage in release))
    figure, axes = _figure(0.9 + 0.28 * len(stages) * max(len(latencies), 1) + 0.25 * len(latencies))
    step = 0.8 / max(len(latencies), 1)
    for number, ((label, release), color) in enumerate(zip(latencies.items(), cycle(COLORS), strict=False)):
        rows = [
            (place + (number - (len(latencies) - 1) / 2) * step, release[s])
            for place, s in enumerate(stages)
            if s in release
        ]
        for row, (y, found) in enumerate(rows):
            low, high = found["p50"], found.get("p99", found["p50"])
            axes.plot([low, high], [y, y], color=color, lw=2, alpha=0.55, solid_capstyle="round")
            axes.plot(low, y, "o", color=color, ms=6, label=_short(label) if row == 0 else None)
            axes.plot(found.get("p95", high), y, "|", color=color, ms=9, mew=2)
    axes.set_yticks(range(len(stages)), [stage.replace("_", " ") for stage in stages])
    axes.invert_yaxis()
    axes.set(xlabel="ms: median (dot), p95 (bar), up to p99", xlim=(0, None))
    _legend(axes)
    told = "; ".join(
        f"{label}: "
        + ", ".join(
            f"{stage} {found['p50']:.2f} (p99 {found.get('p99', found['p50']):.2f})" for stage, found in release.items()
        )
        for label, release in latencies.items()
    )
    return Plot("latency-stages", "Latency by stage", f"Median latency in ms: {told}.", figure)


def precision_recall(label: str, curves: Sequence["PrCurve"], name: str) -> Plot:
    """The curves of the classes, and their mean."""
    recalls = np.linspace(0, 1, 101)
    tables = [_envelope(curve, recalls) for curve in curves]
    figure, axes = _figure(3.4)
    order = np.argsort([table.mean() for table in tables], kind="stable")
    # From the weakest to the strongest in even steps: the weakest alone would mostly be those that are never found.
    places = np.unique(np.linspace(0, len(order) - 1, min(len(order), _MOST_CURVES)).round().astype(int))
    chosen = [int(n) for n in order[places]]
    for number, color in zip(chosen, cycle(COLORS), strict=False):
        axes.plot(recalls, tables[number], color=color, lw=1, label=_short(curves[number].label, 22))
    axes.plot(recalls, np.mean(tables, axis=0), color=INK, lw=2.2, label=f"mean of {len(curves)}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.005), ylim=(0, 1.02))
    _legend(axes)
    weakest = ", ".join(f"{curves[n].label} {tables[n].mean():.3f}" for n in order[:5])
    alt = f"Precision over recall at IoU 0.5; area under the mean curve {float(np.mean(tables)):.3f}; lowest classes: {weakest}."
    few = f", {_MOST_CURVES} of {len(order)} classes from weak to strong" if len(order) > _MOST_CURVES else ""
    return Plot(name, f"Precision and recall of {label}{few}", alt, figure)


def confusion(label: str, matrix: "ConfusionMatrix", name: str) -> Plot:
    """The classes that are confused most, each row by its sum."""
    counts = np.asarray(matrix.counts, np.float64)
    apart = counts.copy()
    np.fill_diagonal(apart, 0)
    order = np.argsort(-(apart.sum(axis=0) + apart.sum(axis=1)), kind="stable")[:_MOST_CONFUSED]
    chosen = sorted(int(n) for n in order)
    part = counts[np.ix_(chosen, chosen)]
    whole = counts[chosen].sum(axis=1, keepdims=True)
    share = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    figure, axes = _figure(1.0 + 0.3 * len(chosen))
    axes.imshow(share, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    names = [_short(matrix.labels[n], 14) for n in chosen]
    axes.set_xticks(range(len(chosen)), names, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(chosen)), names)
    axes.set(xlabel="called", ylabel="is")
    axes.grid(visible=False)
    for row, column in np.ndindex(*share.shape):
        if share[row, column] >= 0.005:
            color = "white" if share[row, column] > 0.55 else "#1c2733"
            axes.text(
                column, row, f"{share[row, column]:.0%}".rstrip("%"), ha="center", va="center", fontsize=7, color=color
            )
    worst = sorted(((apart[r, c], r, c) for r, c in zip(*np.nonzero(apart), strict=True)), reverse=True)[:3]
    told = "; ".join(f"{matrix.labels[r]} called {matrix.labels[c]} {n:,.0f} times" for n, r, c in worst)
    few = (
        f" (the {len(chosen)} of {len(matrix.labels)} that are confused most)"
        if len(chosen) < len(matrix.labels)
        else ""
    )
    return Plot(name, f"Confusion of {label}, % of a row{few}", f"Most frequent confusions: {told or 'none'}.", figure)


def class_deltas(label: str, deltas: Sequence[tuple[str, float, tuple[float, float] | None]], name: str) -> Plot:
    """Candidate minus baseline of every class with its interval, the worst first."""
    ordered = sorted(deltas, key=lambda delta: delta[1])
    shown = ordered if len(ordered) <= 20 else [*ordered[:14], *ordered[-6:]]
    figure, axes = _figure(0.9 + 0.22 * len(shown))
    for row, (_, value, interval) in enumerate(shown):
        color = BAD if value < 0 else GOOD
        axes.plot([0, value], [row, row], color=color, lw=5, alpha=0.75, solid_capstyle="butt")
        if interval is not None and all(np.isfinite(interval)):
            axes.plot(interval, [row, row], color=INK, lw=1.2, marker="|", ms=6)
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_yticks(range(len(shown)), [_short(text, 18) for text, _, _ in shown])
    axes.invert_yaxis()
    axes.set_xlabel("candidate − baseline")
    worst = ", ".join(f"{text} {value:+.3f}" for text, value, _ in shown[:5])
    few = f", the {len(shown)} of {len(ordered)} that changed most" if len(shown) < len(ordered) else ""
    return Plot(name, f"Change of every class of {label}{few}", f"The lowest changes: {worst}.", figure)


def save_trends(trends: Sequence["Trend"], path: str | Path) -> None:
    """A picture file (.svg, .png or .pdf) with one panel for each metric."""
    check_picture(path)
    metrics = list(dict.fromkeys(trend.metric for trend in trends))
    if not metrics:
        raise UsageError(f"no measurement fits, so there is nothing to draw in {path}")
    with style():
        figure, panels = _subplots(len(metrics))
        for metric, axes in zip(metrics, panels, strict=True):
            some = [trend for trend in trends if trend.metric == metric]
            for trend, color in zip(some, cycle(COLORS), strict=False):
                label = _short(f"{trend.bundle} {trend.precision} {trend.backend}, {trend.device}", 60)
                axes.plot(
                    [p.created[:16] for p in trend.points],
                    [p.value for p in trend.points],
                    "o-",
                    color=color,
                    ms=4,
                    label=label,
                )
            axes.set_ylabel(f"{metric}{f' ({some[0].unit})' if some[0].unit not in ('fraction', '') else ''}")
            axes.tick_params(axis="x", rotation=30)
            _legend(axes)
    Plot("history", "", "", figure).save(Path(path))


def _figure(height_in: float) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_IN, min(height_in, 12.0)), layout="constrained")
    return figure, figure.subplots()


def _subplots(count: int) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.6 * _WIDTH_IN, 2.6 * count), layout="constrained")
    return figure, list(figure.subplots(count, 1, squeeze=False)[:, 0])


def _legend(axes: "Axes") -> None:
    """Below the figure, once for all panels."""
    handles, labels = axes.get_legend_handles_labels()
    figure = axes.figure
    if labels and not figure.legends:
        figure.legend(handles, labels, loc="outside lower center", ncols=2 if len(labels) > 2 else 1)


def _envelope(curve: "PrCurve", recalls: Any) -> Any:
    """The best precision at each recall or beyond, as AP is computed."""
    if not len(curve.recall):
        return np.zeros(len(recalls))
    best = np.maximum.accumulate(np.asarray(curve.precision)[::-1])[::-1]
    place = np.searchsorted(curve.recall, recalls, side="left")
    return np.where(place < len(best), best[np.minimum(place, len(best) - 1)], 0.0)


def _short(text: str, most: int = 34) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"
