"""Every report ever measured, in SQLite by default, or in PostgreSQL for a team."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any

from edgewright.pipeline.history_database import Tables, insert_if_new, opened, waiting, writing
from edgewright.pipeline.report.facts import backend_of, device_words
from edgewright.pipeline.report.numbers import HEADLINES
from edgewright.pipeline.report.schema import Report, utc_now

if TYPE_CHECKING:
    from sqlalchemy import Engine

ENVIRONMENT = "EDGEWRIGHT_HISTORY"
DEFAULT = "edgewright_history.sqlite"


@dataclass(frozen=True)
class Point:
    """One value, when it was measured (ISO 8601 in UTC), and of which bundle and report."""

    created: str
    value: float
    bundle_digest: str
    report: str


@dataclass(frozen=True)
class Trend:
    """The values of one metric of one bundle's name, precision and backend on one device, in the order of their measurement."""

    bundle: str
    precision: str
    backend: str
    device: str
    metric: str
    unit: str
    higher_is_better: bool
    points: tuple[Point, ...]


_Key = tuple[str, str, str, str, str, str, bool]


def default_location() -> str:
    """What the environment variable EDGEWRIGHT_HISTORY names, else a file of SQLite in the working directory."""
    return os.environ.get(ENVIRONMENT) or DEFAULT


def add(reports: Sequence[Report], location: str) -> int:
    """Store the reports and return how many were new; one that is there already stays as it is.

    `location` is a file of SQLite or the URL of a database. Safe for many writers at once: they wait for each other.
    """
    with opened(location, create=True) as (engine, tables):
        return sum(waiting(partial(_add_one, engine, tables, report), location) for report in reports)


def trends(
    location: str, *, bundle: str | None = None, device: str | None = None, metrics: Sequence[str] = HEADLINES
) -> tuple[Trend, ...]:
    """The trends of the metrics (names or patterns), of bundles whose name is or whose digest starts with `bundle`, on devices
    whose name holds `device`. DataError when there is no history."""
    with opened(location, create=False) as (engine, tables):
        rows = waiting(lambda: _rows(engine, tables), location)
    found: dict[_Key, list[Point]] = {}
    for row in rows:
        fits = bundle is None or row.bundle == bundle or row.bundle_digest.startswith(bundle)
        if fits and (device is None or device.casefold() in row.device.casefold()) and _wanted(row.name, metrics):
            key: _Key = (row.bundle, row.precision, row.backend, row.device, row.name, row.unit, row.higher_is_better)
            found.setdefault(key, []).append(Point(row.created, row.value, row.bundle_digest, row.digest))
    order = sorted(found, key=lambda key: (key[:4], _place(key[4], metrics), key[4]))
    return tuple(Trend(*key, tuple(found[key])) for key in order)


def report_digest(report: Report) -> str:
    """Identifies a report by its whole content."""
    content = json.dumps(report.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()


def _wanted(name: str, metrics: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in metrics)


def _place(name: str, metrics: Sequence[str]) -> int:
    return next(place for place, pattern in enumerate(metrics) if fnmatchcase(name, pattern))


def _add_one(engine: "Engine", tables: "Tables", report: Report) -> int:
    digest = report_digest(report)
    with writing(engine) as connection:
        row = {
            "digest": digest,
            "created": report.created,
            "added": utc_now(),
            "bundle": report.bundle.name,
            "bundle_digest": report.bundle.digest,
            "precision": report.bundle.precision,
            "backend": backend_of(report),
            "device": device_words(report.device),
            "data_digest": report.data.digest if report.data else None,
            "content": json.dumps(report.model_dump(mode="json"), sort_keys=True),
        }
        if not insert_if_new(connection, tables.reports, row):
            return 0
        values = [{"report": digest, **m.model_dump(include=_MEASURED)} for m in report.measurements]
        if values:
            connection.execute(tables.measurements.insert(), values)
    return 1


_MEASURED = {"name", "value", "unit", "higher_is_better"}


def _rows(engine: "Engine", tables: "Tables") -> Sequence[Any]:
    from sqlalchemy import select

    reports, measurements = tables.reports.c, tables.measurements.c
    query = (
        select(
            reports.digest,
            reports.created,
            reports.bundle,
            reports.bundle_digest,
            reports.precision,
            reports.backend,
            reports.device,
            measurements.name,
            measurements.value,
            measurements.unit,
            measurements.higher_is_better,
        )
        .join_from(tables.reports, tables.measurements, reports.digest == measurements.report)
        .order_by(reports.created, reports.added, reports.digest)
    )
    with engine.connect() as connection:
        return connection.execute(query).all()
