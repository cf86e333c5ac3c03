"""All checks in the order in which they explain each other, and what they found as a report."""

import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgewright.pipeline.doctor import Finding
from edgewright.pipeline.doctor.bundle_trials import try_bundle
from edgewright.pipeline.doctor.checks import (
    board,
    cameras,
    memory,
    nvidia_driver,
    opencv_build,
    processor_engines,
    python_setup,
    tensorrt_python,
)
from edgewright.pipeline.doctor.machine import Machine, Target
from edgewright.pipeline.report.schema import utc_now
from edgewright.runtime.bundle import Bundle

FORMAT = 1
_Check = Callable[[Machine], Iterator[Finding]]
# What TensorRT alone needs is looked at unless another engine is the target.
_EVERYWHERE: tuple[_Check, ...] = (python_setup.check, board.check, memory.check)
_TENSORRT: tuple[_Check, ...] = (nvidia_driver.check, tensorrt_python.check)
_AFTER: tuple[_Check, ...] = (processor_engines.check, opencv_build.check, cameras.check)
_NOT_OTHERS: tuple[Target | None, ...] = (None, "tensorrt")


def examine(
    machine: Machine, bundle: Bundle | None = None, tell: Callable[[str], None] = lambda name: None
) -> list[Finding]:
    """The findings of every check that the target needs, and of trials of the bundle; `tell` hears what comes next."""
    findings: list[Finding] = []
    checks = (*_EVERYWHERE, *(_TENSORRT if machine.target in _NOT_OTHERS else ()), *_AFTER)
    for check in checks:
        name = check.__module__.rsplit(".", 1)[-1]
        tell(name.replace("_", " "))
        try:
            findings += check(machine)
        except (OSError, ValueError, LookupError, subprocess.SubprocessError) as err:
            # An odd file of a board must not hide what the other checks find.
            findings.append(
                Finding(name, "unknown", f"the check failed ({type(err).__name__}: {err}); please report it")
            )
    if bundle is not None:
        tell("the bundle on each engine")
        findings += try_bundle(machine, bundle, findings)
    return findings


def healthy(findings: Sequence[Finding]) -> bool:
    """Whether nothing is a problem."""
    return all(finding.status != "problem" for finding in findings)


def report(machine: Machine, findings: Sequence[Finding], bundle: Bundle | None) -> dict[str, Any]:
    """What a user can send: findings with what they were read from, and no names of users, machines or their folders."""
    content = {
        "format": FORMAT,
        "created": utc_now(),
        "target": machine.target,
        "healthy": healthy(findings),
        "bundle": None if bundle is None else {"name": bundle.spec.name, "digest": bundle.digest},
        "device": machine.device.identity,
        "state": machine.device.state,
        "software": machine.device.software,
        "findings": [{**vars(finding), "details": dict(finding.details)} for finding in findings],
    }
    return dict(without_names(content, home=str(Path.home()), user=os.environ.get("USER", ""), host=platform.node()))


def without_names(value: Any, *, home: str, user: str, host: str) -> Any:
    """The value with every text in it cleared of the home folder, of folders of users, of the host and of passwords in URIs."""
    if isinstance(value, Mapping):
        return {str(key): without_names(inner, home=home, user=user, host=host) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_names(inner, home=home, user=user, host=host) for inner in value]
    return _cleared(value, home, user, host) if isinstance(value, str) else value


def _cleared(text: str, home: str, user: str, host: str) -> str:
    text = re.sub(r"://[^/@\s]+@", "://***@", text)
    if len(home) > 1:
        text = re.sub(rf"{re.escape(home)}(?=/|\W|$)", "~", text)
    text = re.sub(r"/(home|Users|media|run/user)/[^/\s'\":;,]+", r"/\1/***", text)
    # As a folder and as part of a sentence, but not inside another word: a user may be called "nvidia".
    if user and user != "root":
        text = re.sub(rf"(?<=/){re.escape(user)}(?=/|$)", "***", text)
    # Short names and those of boards, which every board has, say nothing and stand in other words.
    if len(host) > 3 and host not in ("localhost", "ubuntu", "jetson", "nvidia"):
        text = re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w.-])", "***", text)
    return text
