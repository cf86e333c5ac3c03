"""What a quantization measured, as pictures: layers by their damage, ranges by the number of images, trials."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewright.runtime import plugins
from edgewright.runtime.atomic import atomic_file

if TYPE_CHECKING:
    from edgewright.pipeline.quantizing import QuantizationReport

_MOST_LAYERS = 30


def save_plots(report: "QuantizationReport", folder: Path) -> tuple[Path, ...]:
    """The SVG files that were written: layers.svg where layers were ranked, ranges.svg, trials.svg where any was timed."""
    try:
        import matplotlib
    except ModuleNotFoundError as err:
        raise plugins.missing_dependency(err, needed_by="--plots") from err
    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    if report.layers:
        drawn.append(
            _save(folder / "layers.svg", (8, 0.6 + 0.24 * min(len(report.layers), _MOST_LAYERS)), report, _layers)
        )
    if len(report.audit.curve) > 1:
        drawn.append(_save(folder / "ranges.svg", (6, 3.6), report, _ranges))
    if any(trial.ratio is not None for trial in report.trials):
        drawn.append(_save(folder / "trials.svg", (6, 4), report, _trials))
    return tuple(drawn)


def _save(
    path: Path,
    size: tuple[float, float],
    report: "QuantizationReport",
    draw: Callable[["QuantizationReport", Any], None],
) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    draw(report, figure.add_subplot())
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="svg")
    return path


def _layers(report: "QuantizationReport", axes: Any) -> None:
    worst = report.layers[:_MOST_LAYERS]
    kept = set(report.plan.float_layers) if report.plan is not None else set()
    colours = ["tab:orange" if layer.layer in kept else "tab:blue" for layer in worst]
    axes.barh([layer.layer for layer in worst], [layer.damage for layer in worst], color=colours)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel("damage of quantizing this layer alone (0: none, 1: nothing left)")
    of = "" if len(worst) == len(report.layers) else f", the worst {len(worst)} of {len(report.layers)}"
    axes.set_title(f"Layers by damage{of}; orange stays float", fontsize=10)


def _ranges(report: "QuantizationReport", axes: Any) -> None:
    counts, differences = zip(*report.audit.curve, strict=True)
    axes.plot(counts, [100 * difference for difference in differences], marker="o")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_xlabel("calibration images")
    axes.set_ylabel("ranges differ from the final ones, %")
    enough = "not settled" if report.audit.enough is None else f"{report.audit.enough} images were enough"
    axes.set_title(f"Stability of the ranges: {enough}", fontsize=10)
    axes.grid(alpha=0.3)


def _trials(report: "QuantizationReport", axes: Any) -> None:
    timed = [trial for trial in report.trials if trial.ratio is not None and trial.score is not None]
    for trial in timed:
        chosen = trial.plan == report.plan
        drop = trial.score.drop if trial.score is not None else 0.0
        axes.scatter(trial.ratio, 100 * drop, color="tab:orange" if chosen else "tab:blue", zorder=2)
        axes.annotate(
            trial.plan.describe(), (trial.ratio, 100 * drop), fontsize=7, xytext=(4, 4), textcoords="offset points"
        )
    axes.axhline(100 * report.budget, color="tab:red", linewidth=0.8, label="budget")
    axes.axvline(1.0, color="grey", linewidth=0.8, label="fp32")
    axes.set_xlabel("time to fp32")
    axes.set_ylabel(f"drop of {report.metric}, points")
    axes.set_title("Trials that were scored; orange is kept", fontsize=10)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
