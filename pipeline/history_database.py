"""The tables of a history, in SQLite or PostgreSQL, for many writers at once."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgewright.runtime import plugins
from edgewright.runtime.errors import DataError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, MetaData, Table
    from sqlalchemy.exc import DBAPIError

T = TypeVar("T")

SCHEMA = 1
# Writers wait for each other; a transaction takes milliseconds.
_BUSY_S = 60.0
_LONGEST_WAIT_S = 1.0
# PostgreSQL, "Error Codes": transaction rollback, lock not available, too many connections, cannot connect now.
_OTHERS_WORK = ("40", "55P03", "53300", "57P03")
# A number of this program's own among the advisory locks of a database.
_MAKING_TABLES = 0xED9E


@dataclass(frozen=True)
class Tables:
    metadata: "MetaData"
    version: "Table"
    reports: "Table"
    measurements: "Table"


def tables_of_history() -> Tables:
    from sqlalchemy import Boolean, Column, Float, ForeignKey, Integer, MetaData, String, Table, Text

    metadata = MetaData()
    version = Table("history_version", metadata, Column("version", Integer, primary_key=True, autoincrement=False))
    texts = [
        Column(name, Text, nullable=False)
        for name in ("created", "added", "bundle", "bundle_digest", "precision", "backend", "device")
    ]
    reports = Table(
        "reports",
        metadata,
        Column("digest", String(64), primary_key=True),
        *texts,
        Column("data_digest", Text),
        Column("content", Text, nullable=False),
    )
    measurements = Table(
        "measurements",
        metadata,
        Column("report", ForeignKey("reports.digest"), primary_key=True),
        Column("name", Text, primary_key=True),
        # PostgreSQL's REAL has four bytes; a precision of 53 bits asks for eight.
        Column("value", Float(53), nullable=False),
        Column("unit", Text, nullable=False),
        Column("higher_is_better", Boolean, nullable=False),
    )
    return Tables(metadata, version, reports, measurements)


@contextmanager
def opened(location: str, *, create: bool) -> Iterator[tuple["Engine", Tables]]:
    """The database with its tables made, or their version checked."""
    try:
        import sqlalchemy
    except ModuleNotFoundError as err:
        raise plugins.missing_dependency(err, needed_by="history") from err
    url = _url(location)
    if url.drivername.startswith("sqlite"):
        _check_file(url.database or "", location, create=create)
    try:
        engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    except ModuleNotFoundError as err:
        raise plugins.missing_dependency(err, needed_by=f"a history at {url.get_backend_name()}://") from err
    if url.drivername.startswith("sqlite"):
        _let_writers_wait(engine)
    tables = tables_of_history()
    try:
        waiting(lambda: _prepare(engine, tables, location), location)
        yield engine, tables
    finally:
        engine.dispose()


def _url(location: str) -> Any:
    """A URL of a database, or the path of a file of SQLite."""
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    if "://" not in location:
        return URL.create("sqlite", database=location)
    try:
        url = make_url(location)
    except ArgumentError as err:
        raise UsageError("the history's URL cannot be read; give a file, or postgresql://USER@HOST/DATABASE") from err
    kind = url.drivername.partition("+")[0]
    if kind in ("postgresql", "postgres"):
        # psycopg 3 is the maintained driver; SQLAlchemy would take psycopg2.
        return url.set(drivername="postgresql+psycopg") if "+" not in url.drivername else url
    if kind != "sqlite":
        raise UsageError(
            f"a history in '{kind}' is not known; give a file of SQLite, or postgresql://USER@HOST/DATABASE"
        )
    return url


def _check_file(path: str, location: str, *, create: bool) -> None:
    if not path or path == ":memory:":
        raise UsageError(f"a history at '{location}' would be lost at once; name a file")
    if not Path(path).exists() and not create:
        raise DataError(f"there is no history at {path}; make one with `edgewright history add REPORT.json`")
    if Path(path).is_dir():
        raise UsageError(f"{path} is a folder; name a file for the history")
    if create:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise UsageError(
                f"cannot write {path}: {err.strerror or err}; check the folder and its permissions"
            ) from err


@contextmanager
def writing(engine: "Engine") -> Iterator["Connection"]:
    """A transaction; in SQLite it takes the lock at its start, since of two that have read first, one could never go on."""
    with engine.connect() as connection:
        if engine.dialect.name != "sqlite":
            with connection.execution_options(isolation_level="READ COMMITTED").begin():
                yield connection
            return
        # Python's sqlite3 would begin a transaction later, at the first change.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")


def _let_writers_wait(engine: "Engine") -> None:
    from sqlalchemy import event

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.execute(f"PRAGMA busy_timeout = {int(_BUSY_S * 1000)}")
        connection.execute("PRAGMA foreign_keys = ON")


def _prepare(engine: "Engine", tables: Tables, location: str) -> None:
    from sqlalchemy import func, inspect, select

    if not inspect(engine).has_table("history_version"):
        if engine.dialect.name == "sqlite":
            # Readers and the writer do not stop each other; it is a property of the file, set outside a transaction.
            with engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        with writing(engine) as connection:
            if engine.dialect.name == "postgresql":
                # Two that make the same table at once disturb each other, even where it is made only if it is not there.
                connection.execute(select(func.pg_advisory_xact_lock(_MAKING_TABLES)))
            tables.metadata.create_all(connection)
            insert_if_new(connection, tables.version, {"version": SCHEMA})
    with engine.connect() as connection:
        version = connection.execute(select(tables.version.c.version)).scalar()
    if version != SCHEMA:
        raise DataError(
            f"the history at {_without_password(location)} has the layout {version}, this edgewright knows {SCHEMA}; update edgewright"
        )


def waiting(action: Callable[[], T], location: str) -> T:
    """The action's result; it is repeated while other writers are in its way, for a minute at most."""
    last, longest = time.monotonic() + _BUSY_S, 0.05
    while True:
        done = _tried(action, location, again=time.monotonic() < last)
        if not isinstance(done, _InTheWay):
            return done
        # Not all at once again, and the more seldom the more there are: a refused connection costs the server work, too.
        time.sleep(random.uniform(0.01, longest))
        longest = min(2 * longest, _LONGEST_WAIT_S)


class _InTheWay:
    """Another writer was faster."""


def _tried(action: Callable[[], T], location: str, *, again: bool) -> T | _InTheWay:
    from sqlalchemy.exc import DBAPIError

    try:
        return action()
    except DBAPIError as err:
        if again and _in_the_way(err):
            return _InTheWay()
        reason = (str(err.orig).strip().splitlines() or ["no reason given"])[0]
        raise DataError(
            f"the history at {_without_password(location)} cannot be used: {reason}; check the file or the server"
        ) from err


def _in_the_way(err: "DBAPIError") -> bool:
    """Locks, serialization, and a server that takes no more connections for now."""
    # PostgreSQL's words are in the language of its server; a connection that was refused has words only.
    state = getattr(err.orig, "sqlstate", None)
    if state:
        return str(state).startswith(_OTHERS_WORK)
    text = str(err.orig).lower()
    return any(words in text for words in ("locked", "busy", "too many clients", "connection slots", "starting up"))


def _without_password(location: str) -> str:
    from sqlalchemy.engine import make_url

    return str(make_url(location).render_as_string(hide_password=True)) if "://" in location else location


def insert_if_new(connection: "Connection", table: "Table", row: dict[str, Any]) -> bool:
    """Whether the row was not there before."""
    from sqlalchemy.dialects import postgresql, sqlite

    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table).values(row).on_conflict_do_nothing()
    # An insert says how many rows it made only when it is asked to.
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount == 1
