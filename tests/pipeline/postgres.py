"""A PostgreSQL server of a test's own: in a temporary folder, reached through a socket in it and not over the network."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_FOLDER = Path("/usr/lib/postgresql")
# Nothing has to survive a loss of power. So few connections that writers have to wait for each other.
_SETTINGS = "-c listen_addresses='' -c fsync=off -c max_connections=4 -c superuser_reserved_connections=0"


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a database of a new server, which is stopped and removed at the end; skips where there is no PostgreSQL."""
    pytest.importorskip("psycopg")
    programs = max(_FOLDER.glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]), default=None)
    if programs is None:
        pytest.skip(f"there is no PostgreSQL in {_FOLDER} (Debian, Ubuntu: apt install postgresql)")
    # Not pytest's folder: no one but its owner may enter it, and the path of a socket has 107 characters at most.
    folder = Path(tempfile.mkdtemp(prefix="postgresql_"))
    try:
        account = _unprivileged(folder)
        _run(
            [programs.with_name("initdb"), "--username=tester", "--auth=trust", "--no-sync", "--encoding=UTF8"],
            folder,
            account,
        )
        start = ["--wait", "--timeout=120", f"--log={folder / 'log'}", f"--options=-k {folder} {_SETTINGS}"]
        _run([programs, "start", *start], folder, account)
        try:
            yield f"postgresql://tester@/postgres?host={folder}"
        finally:
            _run([programs, "stop", "--mode=immediate"], folder, account)
    finally:
        shutil.rmtree(folder)


def _unprivileged(folder: Path) -> dict[str, Any]:
    """For a call of a program as somebody else, to whom the folder is given, since PostgreSQL refuses to be run by root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}


def _run(words: list[Any], folder: Path, account: dict[str, Any]) -> None:
    environment = {"PGDATA": str(folder / "data"), "LC_ALL": "C", "PATH": os.defpath}
    # The server keeps what it inherits: a pipe would never end.
    with (folder / "out").open("w+") as out:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=folder, env=environment, check=False, **account
        )
        out.seek(0)
        assert done.returncode == 0, out.read()
