"""Networks of the user's own: `package.module:factory`, a function or class that is called without arguments."""

import importlib
import sys
from pathlib import Path
from typing import Any

import torch

from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import TorchNetwork
from edgewright.export.torch_weights import load_state, read_state
from edgewright.runtime import plugins
from edgewright.runtime.errors import ExportError, UsageError, first_line


def load(request: ExportRequest) -> TorchNetwork:
    """The module that the factory returns, with the weights of `request.weights` when that names a file.

    The import sees the working directory, as `python -m` does. Without weights, or with "none", the factory's own stay.
    """
    module_name, _, name = request.source.partition(":")
    factory = _attribute(_import(module_name), name, request.source)
    try:
        network = factory()
    except (Exception, SystemExit) as err:  # the user's code
        raise ExportError(
            f"{request.source}() failed: {type(err).__name__}: {first_line(err)}; it is called without arguments"
        ) from err
    if not isinstance(network, torch.nn.Module):
        raise ExportError(f"{request.source}() returns a {type(network).__name__}, a torch.nn.Module is wanted")
    if request.weights == "default":
        raise UsageError(
            f"{request.source} has no default weights; give a file, or leave --weights out to keep the factory's"
        )
    if request.weights not in (None, "none"):
        path = Path(str(request.weights))
        load_state(network, read_state(path), source=request.source, path=path)
    return TorchNetwork(request.source, network.eval())


def _import(name: str) -> Any:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as err:
        if err.name is None or not (name == err.name or name.startswith(err.name + ".")):
            raise plugins.missing_dependency(err, needed_by=f"'{name}'") from err
        raise UsageError(
            f"there is no Python module '{name}' (looked in {here} and the installed packages); check the name, or change to its folder"
        ) from err
    except (Exception, SystemExit) as err:  # the user's code, which may be a script
        raise ExportError(f"importing {name} failed: {type(err).__name__}: {first_line(err)}") from err
    finally:
        sys.path.remove(here)


def _attribute(module: Any, name: str, source: str) -> Any:
    known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    if not callable(getattr(module, name, None)):
        raise UsageError(f"{source}: the module has no function or class '{name}'{plugins.suggestion(name, known)}")
    return getattr(module, name)
