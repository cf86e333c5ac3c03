"""Recipes: flat YAML files that say all of an export, and of the chain behind it."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from edgewright import configs
from edgewright.export.request import ExportRequest
from edgewright.pipeline.yaml_file import load_yaml
from edgewright.runtime import plugins
from edgewright.runtime.errors import UsageError

# Keys whose value may name a file; relative to the recipe's folder.
_PATHS = ("source", "weights", "labels", "image", "policy", "baseline", "quantization_plan")


class Recipe(ExportRequest):
    """An export, and what `edgewright build` does with the bundle. Keys that are left out take the defaults given here.

    Without `data` nothing is evaluated; with `benchmark_seconds: 0` nothing is timed. With `quantize_for` the bundle is
    quantized on `calibration_data`, within `max_drop` points on `data`.

    `output` is relative to the working directory; files that the recipe reads are relative to the recipe's folder when they
    exist there.
    """

    output: str | None = None
    quantize_for: Literal["openvino", "tensorrt", "onnxruntime"] | None = None
    calibration_data: str | None = None
    calibration_images: int = Field(300, gt=0)
    quantization_plan: str | None = None
    max_drop: float = Field(1.0, ge=0)
    data: str | None = None
    backends: tuple[str, ...] = Field(("ort",), min_length=1)
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    threads: int | None = Field(None, gt=0)
    eval_conf_threshold: float | None = Field(None, ge=0, le=1)
    eval_max_detections: int = Field(100, gt=0)
    benchmark_seconds: float = Field(5.0, ge=0)
    policy: str | None = None
    baseline: str | None = None


def load_recipe(path: Path) -> Recipe:
    """The recipe in the file, or the built-in one of that name, with the paths of what it reads resolved.

    UsageError for an unknown key or a wrong value.
    """
    file = _found(path)
    recipe = load_yaml(file, Recipe)
    changes = {
        name: _resolved(file.parent, getattr(recipe, name)) for name in _PATHS if getattr(recipe, name) is not None
    }
    for name in ("data", "calibration_data"):
        value = getattr(recipe, name)
        if value is not None:
            changes[name] = _resolved_data(file.parent, value)
    return recipe.model_copy(update=changes)


def builtin_recipes() -> tuple[str, ...]:
    """The names of the recipes that ship with the package, sorted; `NAME.yaml` stands for one where no such file is."""
    return tuple(sorted(path.stem for path in _folder().glob("*.yaml")))


def export_request(source: str, options: dict[str, Any], *, network: str | None = None) -> ExportRequest:
    """The request that the command line makes: the recipe if `source` is one, with the options that were given on top.

    `network` says where the source of a recipe lies, if neither beside the recipe nor in the working directory.
    """
    given = {name: value for name, value in options.items() if value is not None}
    base: dict[str, Any] = {"source": source}
    if source.endswith((".yaml", ".yml")):
        recipe = load_recipe(Path(source))
        base = {**recipe.model_dump(include=set(ExportRequest.model_fields)), "source": network or recipe.source}
        if base["source"].endswith(".onnx") and not Path(base["source"]).is_file():
            raise UsageError(
                f"{source}: its source {base['source']} is neither beside the recipe nor in the working directory; "
                "say where it is with --source FILE"
            )
    elif network is not None:
        raise UsageError(
            f"--source says where a recipe's network lies, and {source} is no recipe (.yaml); leave it out"
        )
    try:
        return ExportRequest.model_validate({**base, **given})
    except ValidationError as err:
        first = err.errors()[0]
        raise UsageError(
            f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}, got {first['input']!r}"
        ) from err


def _found(path: Path) -> Path:
    known = builtin_recipes()
    if path.exists():
        return path
    if str(path) == path.name and path.stem in known:
        return _folder() / f"{path.stem}.yaml"
    raise UsageError(
        f"there is no file {path}{plugins.suggestion(path.stem, known)}; check the path, or take a built-in recipe: "
        f"{', '.join(f'{name}.yaml' for name in known)}"
    )


def _folder() -> Path:
    return Path(configs.__file__).parent


def _resolved_data(folder: Path, uri: str) -> str:
    """The paths behind the word that says the kind of data; a seed and a count are no paths."""
    kind, *parts = uri.split(":")
    if not parts:
        return _resolved(folder, uri)
    return uri if kind == "synthetic" else ":".join([kind, *(_resolved(folder, part) for part in parts)])


def _resolved(folder: Path, value: str) -> str:
    """The file beside the recipe, if `value` is written like a file: a bare word is a built-in name."""
    written_as_file = bool(Path(value).suffix) or "/" in value or (":" not in value and (folder / value).is_dir())
    beside = folder / value
    return str(beside) if written_as_file and not Path(value).is_absolute() and beside.exists() else value
