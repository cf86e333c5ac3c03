"""Engines on disk: a plain plan file that trtexec loads, and beside it what it was built from."""

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from edgewright.runtime.atomic import atomic_file
from edgewright.runtime.bundle import file_sha256
from edgewright.runtime.errors import BackendError
from edgewright.runtime.spec import Strict
from edgewright.runtime.tensorrt.plan import BuildSpec

SCHEMA = 1
# The first bytes of a plan as trtexec reads them: "ftrt" TensorRT, "vtrt" TensorRT-RTX, then a format number.
_MAGIC = (0x74727466, 0x74727476)
_HEADER_BYTES = 28


class DeviceKey(Strict):
    """What an engine depends on besides its build: another value of any of them, and it must be built again."""

    tensorrt: str
    gpu: str
    sm: int
    multiprocessors: int
    cuda_runtime: str
    driver: str
    power_mode: str | None = None
    l4t: str | None = None
    system: str = f"{os.name}"


class EngineRecord(Strict):
    """The sidecar of an engine: its build, its device and its digest."""

    schema_version: int = SCHEMA
    spec: BuildSpec
    device: DeviceKey
    engine_sha256: str
    size: int

    def key(self) -> dict[str, object]:
        """Everything that decides whether the engine still fits, flat."""
        return key_of(self.spec, self.device)


@dataclass(frozen=True)
class Lookup:
    """An engine that fits, or why none does."""

    path: Path | None
    reason: str


def key_of(spec: BuildSpec, device: DeviceKey) -> dict[str, object]:
    """The key of an engine as flat fields; a build's target is a name only and decides nothing."""
    build = {f"build.{name}": value for name, value in spec.model_dump(mode="json").items() if name != "target"}
    return {**build, **{f"device.{name}": value for name, value in device.model_dump(mode="json").items()}}


def find_engine(folder: Path, name: str, spec: BuildSpec, device: DeviceKey) -> Lookup:
    """The engine `name` in `folder`, when its record fits this build and device and its bytes are those that were written."""
    path, record_path = _paths(folder, name)
    if not path.is_file() or not record_path.is_file():
        return Lookup(None, "no engine was built yet")
    if path.is_symlink() or record_path.is_symlink():
        return Lookup(None, f"{path} is a link, and an engine is code: only files in the cache itself are loaded")
    record = read_record(record_path)
    if record is None:
        return Lookup(None, f"{record_path} is of another version or damaged")
    wanted, have = key_of(spec, device), record.key()
    different = sorted(field for field in {*wanted, *have} if wanted.get(field) != have.get(field))
    if different:
        return Lookup(None, "; ".join(f"{f} was {have.get(f)}, is {wanted.get(f)}" for f in different))
    if path.stat().st_size != record.size or file_sha256(path) != record.engine_sha256:
        return Lookup(None, f"{path} is not the file that was written (size or sha256)")
    return Lookup(path, "the engine fits")


def save_engine(folder: Path, name: str, engine: bytes, spec: BuildSpec, device: DeviceKey) -> Path:
    """Write an engine and, after it, its record; readable by this user alone, since an engine is code."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chmod(folder, 0o700)
    path, record_path = _paths(folder, name)
    record_path.unlink(missing_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_bytes(engine)
        digest = file_sha256(temporary)
    record = EngineRecord(spec=spec, device=device, engine_sha256=digest, size=len(engine))
    with atomic_file(record_path) as temporary:
        temporary.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return path


def read_record(path: Path) -> EngineRecord | None:
    """The record in a sidecar, None when it cannot be read or is of another version."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, Mapping) or content.get("schema_version") != SCHEMA:
            return None
        return EngineRecord.model_validate(content)
    except (OSError, ValueError, ValidationError):
        return None


def plan_version(engine: bytes) -> tuple[int, int, int, int]:
    """The four numbers of the TensorRT that wrote a plan, read without TensorRT; BackendError when it is none."""
    if len(engine) < _HEADER_BYTES:
        raise BackendError(f"the engine is truncated: {len(engine)} bytes; build it again")
    magic, number = struct.unpack_from("<II", engine, 0)
    if magic not in _MAGIC or number != 0:
        raise BackendError(
            "the file is no TensorRT plan (some tools put their own header before it); build the engine from the bundle"
        )
    return engine[24], engine[25], engine[26], engine[27]


def check_plan(engine: bytes, version: tuple[int, ...]) -> None:
    """BackendError unless the plan was written by this version: TensorRT itself would answer with nothing."""
    written = plan_version(engine)
    if written[: len(version)] != tuple(version[:4]):
        raise BackendError(
            f"the engine was built by TensorRT {'.'.join(map(str, written))}, this is {'.'.join(map(str, version))}; build it again on "
            "this device"
        )


def _paths(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.engine", folder / f"{name}.engine.json"
