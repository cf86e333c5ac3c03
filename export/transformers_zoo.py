"""`transformers/ID-or-FOLDER`: detectors, panoptic and promptable networks of Hugging Face transformers."""

import json
import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import HfApi, hf_hub_download, scan_cache_dir, try_to_load_from_cache
from safetensors import SafetensorError
from transformers import AutoConfig, PretrainedConfig
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from edgewright.export.families.prompted import PROMPTABLE
from edgewright.export.labels import load_labels
from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import TorchNetwork
from edgewright.export.torch_weights import read_state
from edgewright.export.transformers_input import DETECTORS, PANOPTIC
from edgewright.runtime import plugins
from edgewright.runtime.errors import ExportError, UsageError, first_line

_SEED = 0
_MOST_KEYS = 10
_TIMEOUT_S = 20.0


def load(request: ExportRequest) -> TorchNetwork:
    """The network of a folder with config.json and safetensors, of an id on the Hub, or, with random weights, of a model type.

    Nothing is unpickled and no code of a repository runs. The labels are those of the configuration; random weights follow
    the labels of the request.
    """
    name = request.source.partition("/")[2]
    with _quiet():
        config = _config(name, request)
        if request.weights == "none" and request.labels is not None:
            config.num_labels = len(load_labels(request.labels).labels)
        kind = _class_of(config, name)
        if request.weights == "none":
            module = _random(kind, config)
        elif request.weights in (None, "default"):
            module = _pretrained(kind, name, config)
        else:
            path = Path(str(request.weights))
            module = _pretrained(kind, name, config, state=read_state(path), file=path)
    names = tuple(str(config.id2label[index]) for index in sorted(config.id2label))
    return TorchNetwork(request.source, module.eval(), names, _preprocessor(name))


def _config(name: str, request: ExportRequest) -> Any:
    folder = Path(name)
    types = _kinds()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UsageError(
                f"the folder {folder} has no config.json; give one that transformers' save_pretrained has written"
            )
    elif name.replace("-", "_") in types:
        if request.weights != "none":
            raise UsageError(
                f"'{name}' is a kind of networks, of which only random ones are at hand: add --weights none, or give a folder or an "
                f"id on the Hub with its weights"
            )
        config = AutoConfig.for_model(types[name.replace("-", "_")])
        if config.model_type in ("edgetam", "edgetam_video"):
            config.vision_config = _edgetam_vision()
        return config
    elif name in CONFIG_MAPPING_NAMES:
        raise UsageError(f"'{name}' is a kind of networks that export does not know; {_supported()}")
    try:
        if not folder.is_dir():
            _check_hub(name)
        return AutoConfig.from_pretrained(name)
    except ValueError as err:  # transformers has no such model type
        raise UsageError(f"{name}: {first_line(err)}; {_supported()}") from err
    except OSError as err:  # among them what is not JSON, as transformers reports it
        known = (*types, *_cached_ids())
        raise ExportError(
            f"transformers/{name} is no folder here{plugins.suggestion(name, known)}, and the Hub does not give it "
            f"({first_line(err)}); fetch its config.json, preprocessor_config.json and model.safetensors on a machine that can, "
            f"and give their folder: transformers/FOLDER. Kinds of networks, with --weights none: {', '.join(types)}"
        ) from err


def _edgetam_vision() -> PretrainedConfig:
    """The published image encoder of EdgeTAM; transformers' own defaults are a ResNet and SAM 2's."""
    arguments = {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}
    backbone = transformers.TimmWrapperConfig(architecture="repvit_m1", model_args=arguments)
    return transformers.EdgeTamVisionConfig(backbone_config=backbone)


def _kinds() -> dict[str, str]:
    """What the user may call a kind of networks → what transformers calls it."""
    return {kind.replace("-", "_"): kind for kind in (*DETECTORS, *PANOPTIC, *PROMPTABLE)}


def _check_hub(name: str) -> None:
    """OSError at once when a network that is not in the cache cannot be had; left alone, transformers tries for a minute."""
    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return
    try:
        HfApi().model_info(name, timeout=_TIMEOUT_S)
    except Exception as err:  # whatever the HTTP library of this version of the client raises
        raise OSError(first_line(err)) from err


def _class_of(config: PretrainedConfig, name: str) -> Any:
    """The class of detectors, panoptic or promptable networks for this configuration."""
    kind = config.model_type
    if kind in DETECTORS:
        return getattr(transformers, modeling_auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES[kind])
    if kind in PANOPTIC:
        return getattr(transformers, modeling_auto.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES[kind])
    if kind in PROMPTABLE:
        return getattr(transformers, PROMPTABLE[kind])
    raise UsageError(f"{name} is a network of kind '{kind}', which export does not know; {_supported()}")


def _pretrained(
    kind: Any, name: str, config: PretrainedConfig, *, state: Mapping[str, Any] | None = None, file: Path | None = None
) -> Any:
    """The network with the tensors `state` of a file, else those of the folder or of the Hub.

    transformers translates the names of older files. ExportError when some are missing or of another shape.
    """
    given: dict[str, Any] = {"use_safetensors": True} if state is None else {"state_dict": dict(state)}
    source = None if state is not None else name
    try:
        module, report = kind.from_pretrained(source, config=config, output_loading_info=True, **given)
    except OSError as err:
        raise ExportError(
            f"transformers/{name} has no weights as safetensors that can be had ({first_line(err)}); put model.safetensors "
            "into the folder (save_pretrained writes it), give a checkpoint with --weights FILE, or use --weights none for "
            "random weights"
        ) from err
    except (RuntimeError, SafetensorError) as err:  # a damaged file, or tensors of another shape
        raise ExportError(
            f"{file or f'the weights of transformers/{name}'} cannot be used: {first_line(err)}; fetch them again"
        ) from err
    # Published folders hold keys of older versions that nobody reads.
    checked = ("missing", "mismatched") if state is None else ("missing", "unexpected", "mismatched")
    problems = [_phrase(what, report[f"{what}_keys"]) for what in checked]
    if any(problems):
        what = "; ".join(problem for problem in problems if problem)
        raise ExportError(
            f"{file or f'the weights of transformers/{name}'} do not fit the config.json of {name}: {what}; give two files that "
            "belong together"
        )
    return module


def _phrase(what: str, keys: Collection[Any]) -> str:
    """How many keys are missing or the like, and the first ten; empty without any."""
    named = sorted(str(key) for key in keys)
    more = f", and {len(named) - _MOST_KEYS} more" if len(named) > _MOST_KEYS else ""
    return f"{len(named)} {what} ({', '.join(named[:_MOST_KEYS])}{more})" if named else ""


def _random(kind: Any, config: PretrainedConfig) -> Any:
    """The network with seeded random weights: the same every time, without touching the caller's random state."""
    if hasattr(config, "use_pretrained_backbone"):
        config.use_pretrained_backbone = False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        try:
            return kind(config)
        except (ImportError, OSError, ValueError) as err:
            raise ExportError(
                f"transformers cannot build a {config.model_type}: {first_line(err)}; give a folder with a complete config.json"
            ) from err


def _preprocessor(name: str) -> Mapping[str, Any] | None:
    """What preprocessor_config.json says of how the network was fed; None where there is none."""
    path: Path | None = Path(name) / "preprocessor_config.json"
    if not Path(name).is_dir():
        if name.replace("-", "_") in _kinds():
            return None
        path = _from_hub(name, "preprocessor_config.json")
    if path is None or not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as err:
        raise ExportError(f"{path} cannot be read as JSON ({err}); fetch it again") from err
    return content if isinstance(content, dict) else None


def _from_hub(name: str, file: str) -> Path | None:
    with suppress(Exception):  # no such file, id or connection: the defaults of its kind remain
        return Path(hf_hub_download(name, file))
    return None


def _cached_ids() -> tuple[str, ...]:
    with suppress(Exception):  # there is no cache
        return tuple(repository.repo_id for repository in scan_cache_dir().repos)
    return ()


def _supported() -> str:
    kinds = {"detectors": DETECTORS, "panoptic networks": PANOPTIC, "promptable networks": PROMPTABLE}
    return "there are " + "; ".join(f"{what}: {', '.join(names)}" for what, names in kinds.items())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' progress bars and remarks: what matters is checked."""
    from transformers.utils import logging as own

    loggers = [logging.getLogger(name) for name in ("transformers", "huggingface_hub", "httpx", "httpx2")]
    levels = [logger.level for logger in loggers]
    bars = own.is_progress_bar_enabled()
    own.disable_progress_bar()
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            own.enable_progress_bar()
