"""Checkpoints: load tensors and nothing else, and say what does not fit."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from edgewright.runtime import plugins
from edgewright.runtime.errors import ExportError

_FIRST = 10
# Where training scripts keep the weights among optimizers and epochs.
_NESTED = ("state_dict", "model_state_dict", "model")


def read_state(path: Path) -> dict[str, Any]:
    """The tensors by name of a .safetensors file or a torch checkpoint; no code of the file runs.

    A checkpoint may keep them under a key such as "state_dict" or "model"; the prefix "module." of parallel training goes.
    """
    if not path.is_file():
        words = () if path.suffix else ("default", "none")
        raise ExportError(
            f"there is no weights file {path}{plugins.suggestion(str(path), words)}; check the path, or use --weights none for random "
            "weights"
        )
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_checkpoint(path)
    for key in _NESTED:
        if isinstance(state.get(key), Mapping):
            state = dict(state[key])
            break
    tensors = {str(name): value for name, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ExportError(
            f"{path} holds no tensors (its keys: {_some(list(map(str, state)))}); save model.state_dict()"
        )
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def load_state(module: Any, state: Mapping[str, Any], *, source: str, path: Path) -> None:
    """Put the tensors into the module; ExportError lists the first ten keys that are missing, unexpected or misshapen."""
    problems = misfits(module, state)
    if problems:
        raise ExportError(f"{path} does not fit {source}: {'; '.join(problems)}; give the weights of this very network")
    # BatchNorm's step counters, which only training reads, came later than some checkpoints.
    module.load_state_dict(dict(state), strict=False)


def misfits(module: Any, state: Mapping[str, Any]) -> list[str]:
    """Phrases for missing, unexpected and misshapen keys, each with the first ten; empty when the state fits."""
    wanted = {k: tuple(v.shape) for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    got = {k: tuple(v.shape) for k, v in state.items() if not k.endswith("num_batches_tracked")}
    shapes = [f"{k} is {list(got[k])} instead of {list(wanted[k])}" for k in wanted if k in got and got[k] != wanted[k]]
    named = (
        ("missing", [key for key in wanted if key not in got]),
        ("unexpected", [key for key in got if key not in wanted]),
        ("misshapen", shapes),
    )
    return [f"{len(keys)} {what} ({_some(keys)})" for what, keys in named if keys]


def state_digest(module: Any) -> str:
    """sha256 over the names, types, shapes and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(str(path)))
    except SafetensorError as err:
        raise ExportError(f"{path} is no safetensors file ({err}); save it again with safetensors") from err


def _read_checkpoint(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:  # pickle, zip and torch raise their own kinds
        # torch's own words are an advice to run the code.
        code = re.search(r"GLOBAL ([\w.]+)", str(err))
        reason = f"it holds {code[1]}" if code else "it is no checkpoint of torch, or damaged"
        raise ExportError(
            f"{path} cannot be read as weights alone ({reason}); code in a checkpoint is never run: "
            "load it where it was trained and save model.state_dict(), or a .safetensors file"
        ) from err
    if not isinstance(content, Mapping):
        raise ExportError(
            f"{path} holds a {type(content).__name__}, a dict of tensors is wanted; save model.state_dict()"
        )
    return dict(content)


def _some(keys: list[str]) -> str:
    more = f", and {len(keys) - _FIRST} more" if len(keys) > _FIRST else ""
    return ", ".join(keys[:_FIRST]) + more
