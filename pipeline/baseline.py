"""Baselines: reports that a person has accepted, as files that read well in a review and lie in git."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.pipeline.console import write_json
from edgewright.pipeline.ledger.disturbance import may_be_baseline
from edgewright.pipeline.report.numbers import shown, signed
from edgewright.pipeline.report.schema import Measurement, PerImageFile, Report, load_report, merge, utc_now
from edgewright.runtime.atomic import atomic_file
from edgewright.runtime.bundle import file_sha256
from edgewright.runtime.errors import DataError, UsageError

FOLDER = Path("baselines")


@dataclass(frozen=True)
class Change:
    """Something in which the new baseline differs from the one before: a metric, or a field of what produced it."""

    name: str
    before: str
    after: str
    difference: str = ""


@dataclass(frozen=True)
class Accepted:
    """The file that was written, and how it differs from the baseline that stood there; `replaced` says whether one did."""

    path: Path
    baseline: Report
    replaced: bool
    changes: tuple[Change, ...]


def accept(reports: Sequence[str | Path], output: Path | None = None, *, note: str = "") -> Accepted:
    """Write the reports of one bundle, merged, as the baseline `output`, with the results image by image beside it.

    None: `baselines/BUNDLE_BACKEND_PRECISION.json`. DataError when a run was disturbed or its device throttled, and when the
    results image by image are damaged; a file that is no report is never replaced.
    """
    loaded = [load_report(path) for path in reports]
    for path, report in zip(reports, loaded, strict=True):
        reasons = may_be_baseline(report)
        if reasons:
            raise DataError(f"{path} may not become a baseline: {'; '.join(reasons)}; measure again on a calm device")
    merged = merge(loaded)
    path = output or FOLDER / f"{_file_name(merged)}.json"
    before = load_report(path) if path.exists() else None
    kept = _copy_per_image(reports, loaded, path)
    accepted = f"accepted as baseline {utc_now()}{f': {note}' if note else ''}"
    baseline = merged.model_copy(update={"per_image": kept, "notes": (*_measured_notes(merged), accepted)})
    write_json(path, _sorted(baseline.model_dump(mode="json")))
    return Accepted(path, baseline, before is not None, tuple(_changes(before, baseline)) if before else ())


def _file_name(report: Report) -> str:
    backends = {str(settings["backend"]) for settings in report.settings.values() if "backend" in settings}
    parts = (report.bundle.name, *sorted(backends), report.bundle.precision)
    return "_".join(re.sub(r"[^\w.-]+", "-", part) for part in parts)


def _copy_per_image(paths: Sequence[str | Path], reports: Sequence[Report], target: Path) -> PerImageFile | None:
    """The results image by image under the baseline's name; None when no report has any."""
    for path, report in zip(paths, reports, strict=True):
        if report.per_image is None:
            continue
        source = Path(path).parent / report.per_image.file
        if not source.is_file():
            raise UsageError(
                f"{path} refers to {report.per_image.file}, which is not beside it; copy it there, since drops are judged by it"
            )
        if file_sha256(source) != report.per_image.sha256:
            raise DataError(f"{source} is not the file that {path} refers to (sha256 differs); evaluate again")
        copy = target.with_name(f"{target.name}{source.suffix}")
        if not (copy.exists() and copy.samefile(source)):
            with atomic_file(copy) as temporary:
                temporary.write_bytes(source.read_bytes())
        return PerImageFile(file=copy.name, sha256=report.per_image.sha256)
    return None


def _measured_notes(report: Report) -> tuple[str, ...]:
    """Without those of an earlier acceptance."""
    return tuple(note for note in report.notes if not note.startswith("accepted as baseline "))


def _sorted(content: dict[str, Any]) -> dict[str, Any]:
    """Keys and measurements in the order of their names, so that a review shows what changed and nothing else."""
    ordered: dict[str, Any] = _by_key(content)
    return {**ordered, "measurements": sorted(ordered["measurements"], key=lambda measured: str(measured["name"]))}


def _by_key(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _by_key(value[key]) for key in sorted(value)}
    return [_by_key(item) for item in value] if isinstance(value, list) else value


def _changes(before: Report, after: Report) -> Iterator[Change]:
    """What produced the numbers first, then those of the whole, then those of the classes."""
    for field in ("bundle", "data", "settings", "device", "software"):
        ours, theirs = (dict(_flat(report.model_dump(mode="json")[field], field)) for report in (before, after))
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                yield Change(key, str(ours.get(key, "–")), str(theirs.get(key, "–")))
    names = {m.name for report in (before, after) for m in report.measurements}
    for name in sorted(names, key=lambda name: ("/" in name, name)):
        one, other = before.measurement(name), after.measurement(name)
        if one != other:
            yield Change(name, _value(one, other), _value(other, one), _difference(one, other))


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}")
    else:
        yield name, value


def _value(measured: Measurement | None, other: Measurement | None) -> str:
    if measured is None:
        return "–"
    return shown(measured.value, measured.unit, apart_from=other.value if other else None)


def _difference(before: Measurement | None, after: Measurement | None) -> str:
    if before is None or after is None or before.unit != after.unit or before.value == after.value:
        return ""
    better = (after.value > before.value) == after.higher_is_better
    return f"{signed(after.value - before.value, after.unit)} ({'better' if better else 'worse'})"
