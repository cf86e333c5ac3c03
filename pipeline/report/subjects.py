"""The releases that a page is about: reports of one bundle, backend and device belong together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.pipeline.per_image import PerImage, load_per_image
from edgewright.pipeline.report.facts import backend_of, device_words
from edgewright.pipeline.report.schema import Report, load_report


@dataclass(frozen=True, eq=False)
class Subject:
    """One release on one device: its reports, and what was found image by image where that was kept."""

    label: str
    reports: tuple[Report, ...]
    per_image: PerImage | None

    def value(self, name: str) -> float | None:
        """A measurement of any of the reports, the latest first."""
        found = (report.measurement(name) for report in sorted(self.reports, key=lambda r: r.created, reverse=True))
        return next((measured.value for measured in found if measured), None)

    def names(self) -> list[str]:
        """Everything that was measured, each once."""
        return list(dict.fromkeys(m.name for report in self.reports for m in report.measurements))


def subjects_of(paths: Sequence[str | Path]) -> list[Subject]:
    """The releases in the order of their first report; labels name the device only where there are several."""
    groups: dict[tuple[str, ...], list[tuple[Path, Report]]] = {}
    for path in map(Path, paths):
        report = load_report(path)
        key = (
            report.bundle.digest,
            report.bundle.precision,
            backend_of(report),
            device_words(report.device),
            report.bundle.name,
        )
        groups.setdefault(key, []).append((path, report))
    devices = {key[3] for key in groups}
    labels = [
        f"{name} {precision} {backend}{f' on {device}' if len(devices) > 1 else ''}"
        for _, precision, backend, device, name in groups
    ]
    unique = [
        label if labels.count(label) == 1 else f"{label} {key[0][:8]}"
        for label, key in zip(labels, groups, strict=True)
    ]
    return [
        Subject(label, tuple(report for _, report in group), _per_image(group))
        for label, group in zip(unique, groups.values(), strict=True)
    ]


def _per_image(group: Sequence[tuple[Path, Report]]) -> PerImage | None:
    found = (load_per_image(path, report.per_image) for path, report in group if report.per_image)
    return next((results for results in found if results is not None), None)


def renamed(subject: Subject, label: str) -> Subject:
    """The same with something put before its name."""
    return Subject(f"{label}: {subject.label}", subject.reports, subject.per_image)
