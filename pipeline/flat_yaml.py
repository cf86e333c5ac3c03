"""Flat YAML files validated by a model: an unknown key is an error that names the closest known one."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from edgewright.runtime import plugins
from edgewright.runtime.errors import UsageError

M = TypeVar("M", bound=BaseModel)


def load_flat_yaml(path: Path, model: type[M]) -> M:
    """The file's content as `model`; UsageError with the file, the key, what it holds and what is wanted."""
    content = _read(path)
    known = list(model.model_fields)
    for key in content:
        if key not in known:
            raise UsageError(
                f"{path}: unknown key '{key}'{plugins.suggestion(str(key), known)}; the keys are: {', '.join(known)}"
            )
    try:
        return model.model_validate(content)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        got = "" if first["type"] == "missing" else f", got {first['input']!r}"
        at = f"'{where}': " if where else ""
        raise UsageError(f"{path}: {at}{_lower(first['msg'].removeprefix('Value error, '))}{got}") from err


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _read(path: Path) -> dict[Any, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise UsageError(f"there is no file {path}; check the path") from err
    except (OSError, UnicodeDecodeError) as err:
        raise UsageError(f"{path} cannot be read as text: {err}") from err
    except yaml.YAMLError as err:
        reason = " ".join(str(err).split())
        raise UsageError(f"{path} is not valid YAML: {reason}") from err
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds {type(content).__name__} instead of `key: value` lines")
    return content
