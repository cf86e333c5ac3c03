"""Reports as one self-contained page: figures, differences from a baseline, the worst images, device and settings."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from edgewright.pipeline.comparability import check_same_task_and_data
from edgewright.pipeline.datasets import open_dataset
from edgewright.pipeline.metrics.curves import curves
from edgewright.pipeline.report import plots
from edgewright.pipeline.report.deltas import deltas_of
from edgewright.pipeline.report.figures import Plot, drawn
from edgewright.pipeline.report.numbers import shown
from edgewright.pipeline.report.rendering import render
from edgewright.pipeline.report.subjects import Subject, renamed, subjects_of
from edgewright.pipeline.report.worst import Pictured, Regressed, pictured, worst_images
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import DataError, UsageError
from edgewright.runtime.predictor import Predictor, open_predictor
from edgewright.runtime.results import Image
from edgewright.runtime.spec import PostprocessSpec

# What stands for accuracy, the first that was measured.
PRIMARY = ("AP", "mIoU", "PQ", "Dice", "J&F", "mAP")
_TABLED = (
    *PRIMARY,
    "AP50",
    "mask-AP",
    "latency.end_to_end.p50",
    "latency.end_to_end.p99",
    "throughput",
    "peak_rss",
    "model_size",
)
_WORST = 6
# A page of figures that are read one by one.
_MOST_CURVED = 4
_PICTURE_PX = 480


@dataclass(frozen=True, eq=False)
class Rerun:
    """What the worst images are drawn with."""

    data: str
    candidate: Bundle
    baseline: Bundle


@dataclass(frozen=True, eq=False)
class Page:
    """The HTML and the figures in it."""

    html: str
    plots: tuple[Plot, ...]


def report_page(
    paths: Sequence[str | Path], baselines: Sequence[str | Path] = (), *, rerun: Rerun | None = None
) -> Page:
    """The page of the reports in the files, compared with those of a baseline.

    Reports of one bundle on one backend and device belong together, such as those of evaluate and of benchmark. The first such
    release is the candidate. `rerun` draws the images that lost most.
    """
    subjects = subjects_of(paths)
    base = subjects_of(baselines)
    if len(base) > 1:
        raise UsageError(
            f"the baseline's reports are of several releases ({', '.join(s.label for s in base)}); give those of one"
        )
    baseline = base[0] if base else None
    every = [*subjects, *([renamed(baseline, "baseline")] if baseline else [])]
    differing = _differing(subjects[0], baseline) if baseline else ()
    figures = list(_figures(every))
    deltas, class_plot, note = deltas_of(subjects[0], baseline) if baseline else ([], None, "")
    figures += [class_plot] if class_plot else []
    worst = _worst(subjects[0], baseline)
    html = render(
        "report.html.j2",
        title=", ".join(subject.label for subject in subjects),
        candidate=subjects[0].label,
        titles=["", *_columns(every)],
        rows=[_row(subject, _columns(every)) for subject in every],
        figures=[{"name": f.name, "title": f.title, "alt": f.alt, "svg": f.inline()} for f in figures],
        whole=[delta for delta in deltas if "/" not in delta.metric and "@" not in delta.metric],
        slices=[delta for delta in deltas if "/" not in delta.metric and "@" in delta.metric],
        classes=[delta for delta in deltas if "/" in delta.metric],
        delta_note=note,
        differing=differing,
        worst=worst,
        score_note=_score_note(worst, subjects[0]),
        pictures=[_shown_picture(p) for p in _pictures(worst, subjects[0], baseline, rerun)],
        facts=[(subject.label, _facts(subject)) for subject in every],
    )
    return Page(html, tuple(figures))


def _differing(candidate: Subject, baseline: Subject) -> tuple[str, ...]:
    pairs = ((ours, theirs) for ours in candidate.reports for theirs in baseline.reports)
    return tuple(dict.fromkeys(field for pair in pairs for field in check_same_task_and_data(*pair)))


def _columns(subjects: Sequence[Subject]) -> list[str]:
    return [name for name in _TABLED if any(subject.value(name) is not None for subject in subjects)]


def _row(subject: Subject, names: Sequence[str]) -> list[str]:
    units = {m.name: m.unit for report in subject.reports for m in report.measurements}
    values = {name: subject.value(name) for name in names}
    return [subject.label, *("–" if value is None else shown(value, units[name]) for name, value in values.items())]


def _figures(subjects: Sequence[Subject]) -> Iterator[Plot]:
    metric = next((name for name in PRIMARY if any(s.value(name) is not None for s in subjects)), None)
    points = [
        plots.Point(s.label, accuracy, latency)
        for s in subjects
        if metric and (accuracy := s.value(metric)) is not None
        if (latency := s.value("latency.end_to_end.p50")) is not None
    ]
    if points and metric:
        yield drawn(plots.accuracy_latency, points, metric)
    latencies = {subject.label: stages for subject in subjects if (stages := _stages(subject))}
    if latencies:
        yield drawn(plots.latency_stages, latencies)
    for number, subject in enumerate(subjects[:_MOST_CURVED]):
        found = curves(subject.per_image) if subject.per_image else None
        if found and found.precision_recall:
            yield drawn(plots.precision_recall, subject.label, found.precision_recall, f"precision-recall-{number}")
        if found and found.confusion:
            yield drawn(plots.confusion, subject.label, found.confusion, f"confusion-{number}")


def _stages(subject: Subject) -> dict[str, dict[str, float]]:
    stages: dict[str, dict[str, float]] = {}
    for name in subject.names():
        parts = name.split(".")
        if parts[0] == "latency" and len(parts) == 3 and (value := subject.value(name)) is not None:
            stages.setdefault(parts[1], {})[parts[2]] = value
    return {stage: found for stage, found in stages.items() if "p50" in found}


def _worst(candidate: Subject, baseline: Subject | None) -> tuple[Regressed, ...]:
    if baseline is None or candidate.per_image is None or baseline.per_image is None:
        return ()
    return worst_images(candidate.per_image, baseline.per_image, _WORST)


def _score_note(worst: tuple[Regressed, ...], candidate: Subject) -> str:
    if not worst:
        return ""
    if worst[0].cuts is None:
        if candidate.per_image and candidate.per_image.segments is not None:
            return "The score of an image is PQ of its segments, all as of one class."
        return "The score of an image is the share of its pixels that have the right class."
    cuts = " and ".join(f"{cut:.2f} of the {side}" for side, cut in worst[0].cuts.items())
    return f"F1 at IoU 0.5 of the detections from the score on at which F1 of all images is best: {cuts}."


def _pictures(
    worst: tuple[Regressed, ...], candidate: Subject, baseline: Subject | None, rerun: Rerun | None
) -> Iterator[Pictured]:
    if rerun is None or baseline is None or not worst:
        return
    with _predictor(rerun.candidate, candidate) as ours, _predictor(rerun.baseline, baseline) as theirs:
        yield from pictured(worst, open_dataset(rerun.data), ours, theirs)


def _predictor(bundle: Bundle, subject: Subject) -> Predictor:
    """The bundle on the engine that its reports were measured with; DataError when they are of another."""
    digest = subject.reports[0].bundle.digest
    if bundle.digest != digest:
        raise DataError(
            f"{bundle.path} is {bundle.digest[:12]}, the reports of {subject.label} are of {digest[:12]}; give the bundle that was "
            "measured"
        )
    settings = next((report.settings["evaluate"] for report in subject.reports if "evaluate" in report.settings), {})
    return open_predictor(
        bundle,
        backend=str(settings.get("backend", "ort")),
        precision=str(settings.get("precision", "fp32")),
        postprocess=_postprocess(bundle, settings),
        tiles=_tiles(settings),
    )


def _postprocess(bundle: Bundle, settings: Mapping[str, Any]) -> PostprocessSpec:
    """The thresholds and limits that were measured with, which are not those of the live loop."""
    used = {name: settings[name] for name in PostprocessSpec.model_fields if name in settings}
    return PostprocessSpec.model_validate({**bundle.spec.postprocess.model_dump(), **used})


def _tiles(settings: Mapping[str, Any]) -> str | None:
    if "tiles" not in settings:
        return None
    whole = "yes" if settings["tiles.whole"] else "no"
    return f"{settings['tiles']}?overlap={settings['tiles.overlap']}&whole={whole}"


def _shown_picture(found: Pictured) -> dict[str, Any]:
    return {
        "title": found.title,
        "candidate": f"{found.regressed.candidate:.2f}",
        "baseline": f"{found.regressed.baseline:.2f}",
        "pictures": [
            (title, _caption(title, found), picture_uri(picture)) for title, picture in found.pictures.items()
        ],
    }


def _caption(title: str, found: Pictured) -> str:
    cut = (found.regressed.cuts or {}).get(title)
    return title if cut is None else f"{title}, from score {cut:.2f} on"


def picture_uri(picture: Image) -> str:
    """The picture as a JPEG inside an address, no larger than a page shows it."""
    scale = min(1.0, _PICTURE_PX / max(picture.shape[:2]))
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    small = picture if scale == 1.0 else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def _facts(subject: Subject) -> list[tuple[str, str]]:
    """Data, device, state, settings and notes, as they stand in the reports."""
    rows: list[tuple[str, str]] = []
    for report in subject.reports:
        rows.append(("bundle", f"{report.bundle.name} {report.bundle.precision} ({report.bundle.digest[:12]})"))
        if report.data:
            rows.append(("data", f"{report.data.images} images of {report.data.uri} ({report.data.digest[:12]})"))
        sections: dict[str, Mapping[str, Any]] = {
            "device": report.device, "state": report.state, "software": report.software, **report.settings
        }  # fmt: skip
        for section, values in sections.items():
            rows += [(f"{section}: {key}", _text(value)) for key, value in values.items() if value is not None]
        rows += [*(("note", note) for note in report.notes), ("measured", report.created)]
    # What two reports say alike is said once.
    return list(dict.fromkeys(rows))


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        text = ", ".join(f"{key} {_text(inner)}" for key, inner in value.items())
    else:
        text = (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)
    return text if len(text) <= 300 else f"{text[:297]}..."
