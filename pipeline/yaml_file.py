"""A YAML file becomes a pydantic model; every complaint is one sentence with the line it is about."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from edgewright.runtime.errors import UsageError
from edgewright.runtime.plugins import suggestion

Model = TypeVar("Model", bound=BaseModel)


def load_yaml(path: str | Path, model: type[Model]) -> Model:
    """The file's content as `model`; UsageError for a missing file, bad YAML, a key given twice, or any key or value
    that the model refuses, with the closest known key."""
    node, content = _parse(Path(path))
    for key in _repeated_keys(node):
        raise UsageError(f"{path}, line {_line(key)}: '{key.value}' is given twice; keep one of them")
    try:
        return model.model_validate(content)
    except ValidationError as err:
        raise UsageError(f"{path}{_complaint(err, node, model)}") from err


def _parse(path: Path) -> tuple[yaml.Node, Any]:
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        content = None if node is None else loader.construct_document(node)
    except FileNotFoundError as err:
        raise UsageError(f"there is no file {path}; check the path") from err
    except (OSError, UnicodeDecodeError) as err:
        raise UsageError(f"{path} cannot be read ({err}); give a YAML file") from err
    except yaml.MarkedYAMLError as err:
        line = f", line {err.problem_mark.line + 1}" if err.problem_mark else ""
        raise UsageError(f"{path}{line}: this is not valid YAML: {err.problem}; quote names that hold * or :") from err
    except (yaml.YAMLError, RecursionError) as err:
        raise UsageError(f"{path} is not valid YAML ({type(err).__name__}); write `key: value` lines") from err
    if not isinstance(node, yaml.MappingNode):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise UsageError(f"{path} holds {found}, wanted `key: value` lines")
    return node, content


def _complaint(err: ValidationError, node: yaml.Node, model: type[BaseModel]) -> str:
    first = err.errors()[0]
    where = [part for part in first["loc"] if part != "[key]"]
    line = _line_of(node, where)
    name = ".".join(map(str, where))
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, where[:-1])
        return (
            f", line {line}: there is no key '{name}'{suggestion(str(where[-1]), known)}; there are: {', '.join(known)}"
        )
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "wants", 1)
    if not where:
        return f": {message}"
    got = f", got {first['input']!r}" if isinstance(first["input"], str | int | float | None) else ""
    return f", line {line}: '{name}' {message}{got}"


def _line_of(node: yaml.Node, where: Sequence[int | str]) -> int:
    """The line of the key or list item at the path `where`, or of the deepest part of it that the file has."""
    line = _line(node)
    for part in where:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                break
            line, node = _line(found[0]), found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = _line(node)
        else:
            break
    return line


def _known_keys(model: type[BaseModel], where: Sequence[int | str]) -> list[str]:
    """The keys of the model that is nested at the path `where`."""
    for part in where:
        field = model.model_fields.get(str(part))
        candidates = (field.annotation, *get_args(field.annotation)) if field else ()
        nested = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        model = nested[0] if nested else model
    return [field.alias or name for name, field in model.model_fields.items()]


def _repeated_keys(root: yaml.Node) -> Iterator[yaml.Node]:
    # Aliases make a graph of the file, which may hold itself, or be huge when written out.
    waiting, known = [root], {id(root)}
    while waiting:
        node = waiting.pop()
        keys = [key for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
        names = [key.value for key in keys if isinstance(key, yaml.ScalarNode)]
        yield from (key for at, key in enumerate(keys) if key.value in names[:at])
        parts = [value for _, value in node.value] if keys else node.value
        fresh = [part for part in parts if isinstance(part, yaml.Node) and id(part) not in known]
        known |= {id(part) for part in fresh}
        waiting += fresh


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
