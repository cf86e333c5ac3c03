"""Stages of a chain: each runs once for its inputs, and says why it ran or was reused."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.runtime.atomic import atomic_file
from edgewright.runtime.bundle import file_sha256


@dataclass(frozen=True)
class Outcome:
    """What became of a stage: whether it ran, and why."""

    stage: str
    ran: bool
    reason: str


def run_stage(
    folder: Path, name: str, inputs: Mapping[str, Any], outputs: Sequence[Path], action: Callable[[], None]
) -> Outcome:
    """Run `action`, which makes `outputs`, unless it ran before with the same `inputs` and its outputs are untouched.

    `inputs` is everything that the outputs depend on, as JSON values. The record lies in `folder`/`name`.json and is written
    only after the action, so that an interrupted stage runs again. An output may be a file or a folder.
    """
    record = folder / f"{name}.json"
    wanted = json.loads(json.dumps(inputs, sort_keys=True))
    reason = _reason_to_run(record, wanted, outputs)
    if reason is None:
        return Outcome(name, False, "inputs unchanged")
    record.unlink(missing_ok=True)
    action()
    content = {"inputs": wanted, "outputs": {str(path): path_digest(path) for path in outputs}}
    with atomic_file(record) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return Outcome(name, True, reason)


def path_digest(path: Path) -> str | None:
    """The sha256 of a file, or of the names and digests of a folder's files; None where nothing is."""
    if path.is_file():
        return file_sha256(path)
    if not path.is_dir():
        return None
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = [f"{file.relative_to(path).as_posix()} {file_sha256(file)}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _reason_to_run(record: Path, wanted: dict[str, Any], outputs: Sequence[Path]) -> str | None:
    """Why the stage must run; None when its record and its outputs say that it need not."""
    try:
        before = json.loads(record.read_text(encoding="utf-8"))
        inputs, digests = before["inputs"], before["outputs"]
        changed = [key for key in {**inputs, **wanted} if inputs.get(key) != wanted.get(key)]
    except FileNotFoundError:
        return "it has not run yet"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its record cannot be read"
    if changed:
        return "changed: " + ", ".join(_change(key, inputs.get(key), wanted.get(key)) for key in changed)
    for path in outputs:
        if path_digest(path) is None:
            return f"{path.name} is missing"
        if path_digest(path) != digests.get(str(path)):
            return f"{path.name} was changed"
    return None


def _change(key: str, before: Any, after: Any) -> str:
    """The key, and both values where they are short enough to read."""
    texts = [value if isinstance(value, str) else json.dumps(value) for value in (before, after)]
    return f"{key} ({texts[0]} → {texts[1]})" if all(len(text) <= 24 for text in texts) else key
