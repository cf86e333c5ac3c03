"""Deliberate breakages of the code that builds and runs engines, and which check catches each."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from tests.fake_tensorrt.builds import BUILD_CHECKS
from tests.fake_tensorrt.checks import CHECKS
from tests.fake_tensorrt.world import World

from edgewright.runtime.tensorrt import runner as runner_module

_FOLDER = Path(runner_module.__file__).parent
_RUNNING = ("cuda", "allocator", "runner")
_TIMEOUT_S = 60.0
# The versions and kinds of memory in which a mutant is run: every branch is taken.
_PLACES = (("10.3.0", False), ("8.6.1", True), ("11.4.0", False))


@dataclass(frozen=True)
class Mutant:
    """One breakage: what it is, the file of runtime/tensorrt, and the text that is replaced (it stands there once)."""

    what: str
    file: str
    old: str
    new: str


MUTANTS = tuple(
    Mutant(**entry) for entry in yaml.safe_load((Path(__file__).parent / "mutants.yaml").read_text(encoding="utf-8"))
)


def caught_by(mutant: Mutant, library: Path) -> str | None:
    """The first check that fails with the mutant, run in a process of its own; None when it survives them all."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_judge, args=(mutant, library, sender))
    process.start()
    sender.close()
    try:
        if not receiver.poll(_TIMEOUT_S):
            return "it never ends"
        verdict: str | None = receiver.recv()
    except EOFError:
        return "the process ends"
    finally:
        process.kill()
        process.join()
    return verdict


def _judge(mutant: Mutant, library: Path, sender: Any) -> None:
    # What a mutant prints, and what CUDA's imitation logs of it, is no output of this test.
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    modules = mutated(mutant)
    sender.send(next((name for name, check in _checks(mutant, modules, library) if _fails(check)), None))


def _fails(check: Callable[[], None]) -> bool:
    try:
        check()
    # pytest's own failures are no Exception.
    except BaseException:  # noqa: BLE001
        return True
    return False


def _checks(mutant: Mutant, modules: dict[str, ModuleType], library: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    if mutant.file == "build":
        for build_check in BUILD_CHECKS:
            yield build_check.__name__, partial(build_check, modules["build"])
        return

    def make(version: str, integrated: bool) -> World:
        return World(library, version, integrated, runner=modules["runner"], cuda=modules["cuda"])

    for check in CHECKS:
        for version, integrated in _PLACES:
            yield check.__name__, partial(check, make, version, integrated)


def mutated(mutant: Mutant) -> dict[str, ModuleType]:
    """The modules under test, one of them changed, that import each other; ValueError when the text is not there once."""
    made = {}
    for name in ("build",) if mutant.file == "build" else _RUNNING:
        path = _FOLDER / f"{name}.py"
        text = path.read_text(encoding="utf-8")
        if name == mutant.file:
            if text.count(mutant.old) != 1:
                raise ValueError(f"{path.name} holds {mutant.old!r} {text.count(mutant.old)} times, not once")
            text = text.replace(mutant.old, mutant.new)
        for other in _RUNNING:
            text = text.replace(f"from edgewright.runtime.tensorrt.{other} import", f"from mutant_{other} import")
        module = ModuleType(f"mutant_{name}")
        module.__dict__.update(__file__=str(path), _KEPT=[])
        sys.modules[module.__name__] = module
        exec(compile(text, f"mutant {path.name}", "exec"), module.__dict__)
        made[name] = module
    return made
