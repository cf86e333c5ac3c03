"""The history keeps every report once, whoever writes."""

import importlib
import json
import sqlite3
import time
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.postgres import postgresql

from edgewright.pipeline import history
from edgewright.pipeline.cli import main
from edgewright.pipeline.report.schema import BundleIdentity, Measurement, Report
from edgewright.runtime.errors import DataError, UsageError

pytest.importorskip("sqlalchemy")


def measured(
    ap: float, *, created: str, bundle: str = "belt", digest: str = "ab" * 32, cpu: str = "Cortex-A78AE"
) -> Report:
    return Report(
        bundle=BundleIdentity(name=bundle, digest=digest, task="detect", precision="fp32"),
        data=None,
        settings={"evaluate": {"backend": "ort"}},
        device={"cpu_model": cpu},
        measurements=(
            Measurement(name="AP", value=ap, unit="fraction", higher_is_better=True),
            Measurement(name="latency.end_to_end.p50", value=10 * ap, unit="ms", higher_is_better=False),
        ),
        created=created,
    )


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.xdist_group("postgresql"))])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty history in SQLite, and in PostgreSQL."""
    if request.param == "sqlite":
        yield str(tmp_path / "history.sqlite")
        return
    url: str = request.getfixturevalue("server")
    yield url
    drop_all(url)


def drop_all(url: str) -> None:
    import sqlalchemy

    from edgewright.pipeline.history_database import _url, tables_of_history

    engine = sqlalchemy.create_engine(_url(url))
    tables_of_history().metadata.drop_all(engine)
    engine.dispose()


def test_values_come_back_in_the_order_of_their_measurement(place: str) -> None:
    reports = [measured(0.1 * day, created=f"2026-01-0{day}T00:00:00+00:00") for day in (3, 1, 2)]
    assert history.add(reports, place) == 3
    ap, latency = history.trends(place)
    assert (ap.metric, ap.bundle, ap.backend, ap.device) == ("AP", "belt", "ort", "Cortex-A78AE")
    assert [point.value for point in ap.points] == [0.1, 0.2, 0.1 * 3]
    assert [point.created[:10] for point in latency.points] == ["2026-01-01", "2026-01-02", "2026-01-03"]


def test_a_report_is_kept_once(place: str) -> None:
    report = measured(0.3, created="2026-01-01T00:00:00+00:00")
    assert [history.add([report, report], place), history.add([report], place)] == [1, 0]
    assert len(history.trends(place)[0].points) == 1


WRITERS, REPORTS = 8, 6


def write(place: str, writer: int) -> None:
    """Reports of this writer, and one that all of them have."""
    for n in range(REPORTS):
        history.add([measured(0.5, created=f"2026-01-01T{writer:02}:{n:02}:00+00:00")], place)
        history.add([measured(0.5, created="2026-02-02T00:00:00+00:00")], place)


def writers(place: str) -> list[ForkProcess]:
    # Forked, so that every one has all that it needs and they are many at once.
    importlib.import_module("sqlalchemy.dialects.postgresql.psycopg" if "://" in place else "sqlalchemy")
    processes = [get_context("fork").Process(target=write, args=(place, n)) for n in range(WRITERS)]
    for process in processes:
        process.start()
    return processes


def test_many_writers_at_once_lose_nothing(place: str) -> None:
    """They also make the tables at once, since none is there; PostgreSQL refuses some of their connections at first."""
    processes = writers(place)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * WRITERS
    assert [len(trend.points) for trend in history.trends(place)] == [WRITERS * REPORTS + 1] * 2


def test_a_killed_writer_leaves_whole_reports_and_does_not_stop_the_others(place: str) -> None:
    history.add([measured(0.5, created="2026-02-02T00:00:00+00:00")], place)
    killed, *others = writers(place)
    while len(history.trends(place)[0].points) < WRITERS:
        time.sleep(0.01)
    killed.kill()
    for process in (killed, *others):
        process.join()
    assert [process.exitcode for process in others] == [0] * len(others)
    ap, latency = history.trends(place)
    assert [point.report for point in ap.points] == [point.report for point in latency.points]
    assert len(ap.points) >= len(others) * REPORTS + 1


def test_a_report_is_kept_whole_or_not_at_all(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that dies between the report and its measurements leaves nothing behind."""
    report = measured(0.3, created="2026-01-01T00:00:00+00:00")
    with monkeypatch.context() as patch:
        patch.setattr(history, "_MEASURED", {"name", "value", "unit"})
        with pytest.raises(Exception, match=r"NOT NULL|not-null"):
            history.add([report], place)
    assert history.add([report], place) == 1


def test_a_trend_is_of_one_bundle_on_one_device(place: str) -> None:
    reports = [
        measured(0.3, created="2026-01-01T00:00:00+00:00"),
        measured(0.4, created="2026-01-02T00:00:00+00:00", cpu="Xeon"),
        measured(0.5, created="2026-01-03T00:00:00+00:00", bundle="street", digest="cd" * 32),
    ]
    history.add(reports, place)
    assert len(history.trends(place, metrics=["AP"])) == 3
    assert [t.device for t in history.trends(place, metrics=["AP"], device="xeon")] == ["Xeon"]
    assert [t.bundle for t in history.trends(place, metrics=["A*"], bundle="cdcd")] == ["street"]
    assert history.trends(place, metrics=["PQ"]) == ()


def test_a_history_of_a_newer_layout_is_not_touched(tmp_path: Path) -> None:
    place = tmp_path / "history.sqlite"
    history.add([measured(0.3, created="2026-01-01T00:00:00+00:00")], str(place))
    with sqlite3.connect(place) as connection:
        connection.execute("UPDATE history_version SET version = 99")
    with pytest.raises(DataError, match="has the layout 99, this edgewright knows 1"):
        history.trends(str(place))


@pytest.mark.parametrize(
    ("location", "error", "sentence"),
    [
        ("missing.sqlite", DataError, "there is no history at missing.sqlite; make one with"),
        ("mysql://root@host/x", UsageError, "a history in 'mysql' is not known"),
        ("://", UsageError, "URL cannot be read"),
        ("sqlite://", UsageError, "would be lost at once"),
    ],
)
def test_a_history_that_cannot_be_read_is_refused(
    location: str, error: type[Exception], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=sentence):
        history.trends(location)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a text that is long enough to be read as the header of a database " * 20)
    with pytest.raises(DataError, match=r"notes\.txt cannot be used: file is not a database"):
        history.trends(str(tmp_path / "notes.txt"))


def test_a_password_is_not_repeated() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(DataError, match=r"postgresql://me:\*\*\*@127\.0\.0\.1:1/x") as raised:
        history.trends("postgresql://me:secret@127.0.0.1:1/x")
    assert "secret" not in str(raised.value)


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out, err


def test_the_command_adds_and_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(history.ENVIRONMENT, str(tmp_path / "team.sqlite"))
    for day, ap in ((1, 0.3), (2, 0.25)):
        report = measured(ap, created=f"2026-01-0{day}T00:00:00+00:00")
        (tmp_path / f"{day}.json").write_text(report.model_dump_json())
    assert run(capsys, "history", "add", tmp_path / "1.json", tmp_path / "2.json") == (
        0,
        "2 of 2 reports are new\n",
        "",
    )
    status, out, _ = run(capsys, "history", "--json", tmp_path / "trends.json")
    assert status == 0
    assert "belt fp32 on ort, Cortex-A78AE" in out
    assert "0.250 (−0.050)" in out
    found: list[dict[str, Any]] = json.loads((tmp_path / "trends.json").read_text())["trends"]
    assert [point["value"] for point in found[0]["points"]] == [0.3, 0.25]


def test_nothing_measured_of_that_name_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "history.sqlite"
    history.add([measured(0.3, created="2026-01-01T00:00:00+00:00")], str(place))
    status, out, _ = run(capsys, "history", "--history", place, "--bundle", "other")
    assert (status, out) == (0, "no measurement fits; see --bundle, --device and --metric\n")
