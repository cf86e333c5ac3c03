"""This device as TensorRT sees it, and the engine of a bundle's graph that fits it: from the cache, else built."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgewright.runtime.bundle import MANIFEST, Bundle, BundleFile, load_bundle
from edgewright.runtime.errors import UsageError
from edgewright.runtime.jetson import jetson_linux, power_mode
from edgewright.runtime.system_files import read_text
from edgewright.runtime.tensorrt.building import Engine, Tell, ensure_engine
from edgewright.runtime.tensorrt.driver import Driver, Gpu
from edgewright.runtime.tensorrt.engine_file import DeviceKey
from edgewright.runtime.tensorrt.plan import BuildSpec, Precision, plan_build
from edgewright.runtime.tensorrt.targets import Target, find_target


@dataclass(frozen=True)
class Device:
    """Where engines run: what they depend on, the target that it is, its first GPU, and how TensorRT is imported."""

    key: DeviceKey
    target: Target
    gpu: Gpu
    module: str = "tensorrt"


def this_device(
    driver: Driver, tensorrt: str, cuda_runtime: str, *, root: Path = Path("/"), module: str = "tensorrt"
) -> Device:
    """This device, with TensorRT of version `tensorrt`; UsageError for a version that is known to fail on it."""
    gpu = driver.gpus[0]
    kernel = re.search(r"\d+\.\d+(\.\d+)?", read_text(root / "proc/driver/nvidia/version") or "")
    key = DeviceKey(
        tensorrt=tensorrt,
        gpu=gpu.name,
        sm=gpu.sm,
        multiprocessors=gpu.multiprocessors,
        cuda_runtime=cuda_runtime,
        driver=f"{driver.cuda} ({kernel.group()})" if kernel else driver.cuda,
        power_mode=power_mode(root),
        l4t=jetson_linux(root),
    )
    numbers = re.findall(r"\d+", tensorrt)[:4]
    return Device(key, find_target(f"trt{'.'.join(numbers)}@sm{gpu.sm}"), gpu, module)


def bundle_of(path: Path) -> tuple[Bundle, BundleFile]:
    """The bundle that holds the model file `path`, and its entry; UsageError when none does: how to build stands there."""
    for folder in path.parents:
        if (folder / MANIFEST).is_file():
            bundle = load_bundle(folder)
            name = path.relative_to(folder).as_posix()
            entries = [file for file in bundle.files if file.name == name]
            if entries:
                return bundle, entries[0]
            break
    raise UsageError(f"{path} is in no bundle, which TensorRT needs to plan a build; make one with `edgewright export`")


def plan_here(
    bundle: Bundle,
    device: Device,
    *,
    precision: Precision,
    graph: str = "main",
    dla_core: int | None = None,
    batch: int | None = None,
) -> BuildSpec:
    """The build of the bundle for this very device, or a core of its DLA."""
    return plan_build(
        bundle,
        device.target,
        precision=precision,
        graph=graph,
        memory_bytes=device.gpu.memory_bytes,
        batch=batch_range(bundle, batch),
        dla_core=dla_core,
    )


def batch_range(bundle: Bundle, batch: int | None) -> tuple[int, int, int] | None:
    """The very batch that is run (None: one frame), where the network's is open: fixed shapes are faster, and a DLA takes no
    others. None where the network's batch is fixed and no other is asked for."""
    fixed = all(isinstance(tensor.shape[0], int) and tensor.shape[0] > 0 for tensor in bundle.spec.inputs)
    if fixed and batch in (None, 1):
        return None
    count = batch or 1
    return count, count, count


def engine_here(
    bundle: Bundle, spec: BuildSpec, device: Device, folder: Path | None, *, tell: Tell, graph: str = "main"
) -> Engine:
    """The engine of that build in `folder` (None: the user's cache)."""
    return ensure_engine(
        folder or user_cache(),
        engine_name(bundle, spec, graph),
        bundle.file(spec.model),
        spec,
        device.key,
        tell=tell,
        module=device.module,
    )


def engine_name(bundle: Bundle, spec: BuildSpec, graph: str = "main") -> str:
    """The name of an engine's files: those of two models never meet."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", bundle.spec.name)
    place = "" if spec.dla_core is None else f"-dla{spec.dla_core}"
    size = "" if spec.batch is None else f"-b{spec.batch[1]}"
    return f"{plain}-{graph}-{spec.precision}{place}{size}-{spec.model_sha256[:12]}"


def user_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of this user's engines, as the XDG base directory specification places it."""
    base = environment.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(base) / "edgewright" / "tensorrt"
