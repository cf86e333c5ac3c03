"""Recipes: flat YAML files that say all of an export, and of the chain behind it."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from edgewright.export.request import ExportRequest
from edgewright.pipeline.yaml_file import load_yaml
from edgewright.runtime.errors import UsageError

# Keys whose value may name a file; relative to the recipe's folder.
_PATHS = ("source", "weights", "labels", "image", "policy", "baseline")


class Recipe(ExportRequest):
    """An export, and what `edgewright build` does with the bundle. Keys that are left out take the defaults given here.

    Without `data` nothing is evaluated; with `benchmark_seconds: 0` nothing is timed.

    `output` is relative to the working directory; files that the recipe reads are relative to the recipe's folder when they
    exist there.
    """

    output: str | None = None
    data: str | None = None
    backends: tuple[str, ...] = Field(("ort",), min_length=1)
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    threads: int | None = Field(None, gt=0)
    eval_conf_threshold: float = Field(0.001, ge=0, le=1)
    eval_max_detections: int = Field(100, gt=0)
    benchmark_seconds: float = Field(5.0, ge=0)
    policy: str | None = None
    baseline: str | None = None


def load_recipe(path: Path) -> Recipe:
    """The recipe in the file, with the paths of what it reads resolved; UsageError for an unknown key or a wrong value."""
    recipe = load_yaml(path, Recipe)
    changes = {
        name: _resolved(path.parent, getattr(recipe, name)) for name in _PATHS if getattr(recipe, name) is not None
    }
    if recipe.data is not None:
        changes["data"] = ":".join(_resolved(path.parent, part) for part in recipe.data.split(":"))
    return recipe.model_copy(update=changes)


def export_request(source: str, options: dict[str, Any]) -> ExportRequest:
    """The request that the command line makes: the recipe if `source` is one, with the options that were given on top."""
    given = {name: value for name, value in options.items() if value is not None}
    base: dict[str, Any] = {"source": source}
    if source.endswith((".yaml", ".yml")):
        recipe = load_recipe(Path(source))
        base = recipe.model_dump(include=set(ExportRequest.model_fields))
    try:
        return ExportRequest.model_validate({**base, **given})
    except ValidationError as err:
        first = err.errors()[0]
        raise UsageError(
            f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}, got {first['input']!r}"
        ) from err


def _resolved(folder: Path, value: str) -> str:
    beside = folder / value
    return str(beside) if value and not Path(value).is_absolute() and beside.exists() else value
