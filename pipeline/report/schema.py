"""The report: what was measured, and of what, with what, on what; the file that the gate and the history read."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, FiniteFloat, JsonValue, ValidationError, model_validator

from edgewright.runtime.bundle import Bundle, first_problem
from edgewright.runtime.errors import DataError
from edgewright.runtime.spec import Strict

FORMAT = 1

Scalar = str | int | FiniteFloat | bool | None
_Value = TypeVar("_Value")


class Measurement(Strict):
    """One number with its unit and which way is better; `interval` holds the bounds of a confidence interval."""

    name: Annotated[str, Field(min_length=1)]
    value: FiniteFloat
    unit: str
    higher_is_better: bool
    interval: tuple[FiniteFloat, FiniteFloat] | None = None


class BundleIdentity(Strict):
    """Which bundle was measured; `precision` is what the engine executed."""

    name: str
    digest: str
    task: str
    precision: str


def identity_of(bundle: Bundle, settings: Mapping[str, object], precision: object) -> BundleIdentity:
    """The bundle as reports name it, with the precision that the engine executed, by its settings; else the one asked for."""
    executed = str(settings.get("executed_precision", precision))
    return BundleIdentity(name=bundle.spec.name, digest=bundle.digest, task=bundle.spec.task, precision=executed)


class DataIdentity(Strict):
    """Which data were used; `digest` covers labels and image bytes, so it is the same on every machine and path."""

    uri: str
    digest: str
    images: int


class PerImageFile(Strict):
    """The file with the results image by image: its name, beside the report, and its digest."""

    file: str
    sha256: str


class LatencyRatio(Strict):
    """Candidate over baseline, measured in turn in one run; `noise` is how far the baseline was from itself, as a share."""

    name: str
    candidate: FiniteFloat
    baseline: FiniteFloat
    ratio: FiniteFloat
    interval: tuple[FiniteFloat, FiniteFloat]
    noise: FiniteFloat


class Against(Strict):
    """The baseline that the report's bundle was measured against, block by block in turn, in processes of their own.

    `settings` are those of the baseline's engine; every launch started all processes anew.
    """

    baseline: BundleIdentity
    settings: dict[str, Scalar]
    launches: int
    rounds: int
    ratios: tuple[LatencyRatio, ...]

    def ratio(self, name: str) -> LatencyRatio | None:
        """That of the measurement called `name`, None when it was not taken in turn."""
        return next((ratio for ratio in self.ratios if ratio.name == name), None)


class Report(Strict):
    """Measurements with all that produced them.

    `settings` are by verb ("evaluate", "benchmark"). `device` is what must agree before two reports may be compared;
    `software` and `state` explain a difference but do not forbid the comparison. `per_image` is None when no results were
    kept image by image, `against` when no baseline was measured in the same run.
    """

    format: Annotated[int, Field(ge=1)] = FORMAT
    bundle: BundleIdentity
    data: DataIdentity | None
    settings: dict[str, dict[str, Scalar]]
    device: dict[str, JsonValue] = Field(default_factory=dict)
    software: dict[str, str] = Field(default_factory=dict)
    state: dict[str, JsonValue] = Field(default_factory=dict)
    measurements: tuple[Measurement, ...]
    per_image: PerImageFile | None = None
    against: Against | None = None
    notes: tuple[str, ...] = ()
    created: str

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Report":
        names = [measurement.name for measurement in self.measurements]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"measured twice: {', '.join(twice)}")
        return self

    def measurement(self, name: str) -> Measurement | None:
        """The measurement called `name`, None when it was not taken."""
        return next((m for m in self.measurements if m.name == name), None)


def load_report(path: str | Path) -> Report:
    """The report in the JSON file `path`; DataError when it is missing, damaged, newer, or no report."""
    content = _read_json(Path(path))
    if not isinstance(content, dict) or "measurements" not in content:
        raise DataError(
            f"{path}: this is not an Edgewright report; make one with 'edgewright evaluate ... --json FILE'"
        )
    version = content.get("format")
    if not isinstance(version, int) or version > FORMAT:
        raise DataError(f"{path}: report format {version!r}, this version reads up to {FORMAT}; update edgewright")
    try:
        return Report.model_validate(content)
    except ValidationError as err:
        raise DataError(f"{path}: {first_problem(err)}; measure again to get a complete report") from err


def merge(reports: Sequence[Report]) -> Report:
    """One report with the sections of all; DataError where two of them state different things about the same."""
    if not reports:
        raise DataError("no report to merge; give at least one")
    merged = reports[0]
    for report in reports[1:]:
        merged = _merge_two(merged, report)
    return merged


def utc_now() -> str:
    """The present time as ISO 8601 in UTC, for `Report.created`."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _merge_two(a: Report, b: Report) -> Report:
    for field, one, other in zip(
        BundleIdentity.model_fields, *(tuple(dict(r.bundle).values()) for r in (a, b)), strict=True
    ):
        if one != other:
            raise _conflict(f"bundle.{field}", one, other)
    if a.data and b.data and a.data.digest != b.data.digest:
        raise _conflict("data.digest", a.data.digest, b.data.digest)
    if a.per_image and b.per_image and a.per_image.sha256 != b.per_image.sha256:
        raise _conflict("per_image.sha256", a.per_image.sha256, b.per_image.sha256)
    if a.against and b.against and a.against != b.against:
        raise _conflict("against.baseline.digest", a.against.baseline.digest, b.against.baseline.digest)
    of_a, of_b = ({m.name: m for m in report.measurements} for report in (a, b))
    return Report(
        bundle=a.bundle,
        data=a.data or b.data,
        settings=_union("settings", a.settings, b.settings),
        device=_union("device", a.device, b.device),
        software={**a.software, **b.software},
        state={**a.state, **b.state},
        measurements=tuple(_union("measurements", of_a, of_b).values()),
        per_image=a.per_image or b.per_image,
        against=a.against or b.against,
        notes=tuple(dict.fromkeys((*a.notes, *b.notes, *_software_notes(a.software, b.software)))),
        created=max(a.created, b.created),
    )


def _union(section: str, a: Mapping[str, _Value], b: Mapping[str, _Value]) -> dict[str, _Value]:
    for key in a.keys() & b.keys():
        if a[key] != b[key]:
            raise _conflict(f"{section}.{key}", a[key], b[key])
    return {**a, **b}


def _software_notes(a: Mapping[str, str], b: Mapping[str, str]) -> list[str]:
    return [f"measured with {key} {a[key]} and {b[key]}" for key in sorted(a.keys() & b.keys()) if a[key] != b[key]]


def _conflict(field: str, one: object, other: object) -> DataError:
    return DataError(
        f"reports do not fit together: {field} is {one!r} in one and {other!r} in another; measure the same thing"
    )


def _read_json(path: Path) -> JsonValue:
    try:
        content: JsonValue = json.loads(path.read_text(encoding="utf-8-sig"))
        return content
    except FileNotFoundError as err:
        raise DataError(f"{path}: there is no such report; check the path") from err
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror}); give a report file") from err
    except (ValueError, RecursionError) as err:
        raise DataError(f"{path}: this is not JSON, or it is cut short ({err}); measure again") from err
