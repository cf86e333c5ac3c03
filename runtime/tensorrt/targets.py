"""The devices that a bundle can be planned for: what NVIDIA's software releases hold, and which versions are known to fail."""

import re
from dataclasses import dataclass
from typing import Literal

from edgewright.runtime import plugins
from edgewright.runtime.errors import UsageError

Version = tuple[int, ...]
Dialect = Literal["weak", "strong"]

# From 10.12 on strong typing is complete (NVIDIA's release notes of 10.12); from 11 on there is nothing else.
FIRST_STRONG: Version = (10, 12)
# The API that names tensors, without which there is no runner here.
OLDEST: Version = (8, 5)
NEWEST_KNOWN: Version = (11, 4, 1)


@dataclass(frozen=True)
class Target:
    """A TensorRT version on a GPU. `sm` is its compute capability (87: 8.7), `opset` the newest ONNX operator set that the
    parser's documentation names; `integrated` GPUs share the memory of the processor; `source` says where the row is from."""

    name: str
    tensorrt: Version
    opset: int
    sm: int | None = None
    cuda: str | None = None
    python: str | None = None
    integrated: bool = False
    board: str | None = None
    source: str = ""

    @property
    def dialect(self) -> Dialect:
        """How precision is asked for: by flags over a float32 graph, or by the types of the graph itself."""
        return "strong" if self.tensorrt >= FIRST_STRONG else "weak"

    @property
    def version(self) -> str:
        return ".".join(str(part) for part in self.tensorrt)


@dataclass(frozen=True)
class KnownBad:
    """Versions (first, last) that must not be used, for what, and who says so."""

    first: Version
    last: Version
    what: str
    source: str


@dataclass(frozen=True)
class Accelerator:
    """Versions (first, last) that run networks on the DLA of these GPUs' boards, whether they take Q/DQ layers there, and who
    says so."""

    first: Version
    last: Version
    sms: tuple[int, ...]
    boards: str
    quantized: bool
    source: str


_ARCHIVE = "NVIDIA, JetPack archive and release notes"
_PARSER = "onnx-tensorrt, docs/operators.md of that release"

_JETSONS = (
    Target("jetpack4.6", (8, 2, 1), 13, 72, "10.2", "3.6", True, "Nano, TX2, Xavier", _ARCHIVE),
    Target("jetpack5.0", (8, 4, 1), 17, 87, "11.4", "3.8", True, "Xavier, AGX Orin", _ARCHIVE),
    Target("jetpack5.1", (8, 5, 2), 17, 87, "11.4", "3.8", True, "Xavier, Orin", _ARCHIVE),
    Target("jetpack6.0", (8, 6, 2), 17, 87, "12.2", "3.10", True, "Orin", "recalled, not checked again"),
    Target("jetpack6.1", (10, 3, 0), 20, 87, "12.6", "3.10", True, "Orin", _ARCHIVE),
    Target("jetpack6.2", (10, 3, 0), 20, 87, "12.6", "3.10", True, "Orin", _ARCHIVE),
    Target("jetpack7.0", (10, 13, 3), 24, 110, "13.0", "3.12", True, "Thor", _ARCHIVE),
    Target("jetpack7.1", (10, 13, 3), 24, 110, "13.0", "3.12", True, "Thor", _ARCHIVE),
    Target(
        "jetpack7.2", (10, 16, 2, 10), 24, 87, "13.2", "3.12", True, "Orin, Thor", "NVIDIA's release notes; one box"
    ),
)

# The newest operator set of each parser release that changed it.
_OPSETS: tuple[tuple[Version, int], ...] = (
    ((8, 0), 13), ((8, 4), 17), ((9, 0), 19), ((10, 0), 20), ((10, 15), 24),
)  # fmt: skip

KNOWN_BAD = (
    KnownBad((10, 2, 0), (10, 2, 0), "exported detectors fail to build", "Ultralytics, which excludes this version"),
    KnownBad((11, 0), (11, 4, 0), "no Jetson is supported", "NVIDIA, TensorRT 11 support matrix"),
)

# Xavier has two cores, so have AGX Orin and Orin NX of 16 GB; Orin NX of 8 GB has one, Orin Nano and Thor none.
DLAS = (
    Accelerator(
        (8, 5), (10, 7), (72, 87), "Xavier, AGX Orin, Orin NX", False,
        "NVIDIA, TensorRT 11.3: 10.7 was the last release that supported DLA; NVIDIA, Model-Optimizer 1661: DLA takes implicit "
        "quantization alone",
    ),
    Accelerator(
        (11, 4, 1), (11, 4, 1), (87,), "AGX Orin under JetPack 7.2.2 and later", True,
        "NVIDIA, TensorRT 11.4.1 release notes: strongly typed networks for DLA",
    ),
)  # fmt: skip


def dla_of(target: Target) -> Accelerator | None:
    """What is known of the target's DLA; None where it has none that its TensorRT runs. A GPU that is not told may have one."""
    for dla in DLAS:
        inside = dla.first <= target.tensorrt and target.tensorrt[: len(dla.last)] <= dla.last
        if inside and target.sm in (None, *dla.sms):
            return dla
    return None


def targets() -> tuple[Target, ...]:
    """Every device that has a name."""
    return _JETSONS


def find_target(text: str) -> Target:
    """The target that `text` names: `jetpack6.2`, `jetpack6` (the newest of it), `trt10.3@sm87` or `trt11.4`.

    UsageError for an unknown name, with the closest; for a version that is too old to run here; and for one that is known to
    fail on that kind of device.
    """
    target = _of_version(text) if text.startswith("trt") else _of_jetpack(text)
    if target.tensorrt < OLDEST:
        raise UsageError(
            f"target {text} has TensorRT {target.version}, which cannot name tensors and is too old to run here; export ONNX of opset "
            f"{target.opset} and build it with its trtexec, or update to TensorRT 8.5 (JetPack 5.1)"
        )
    for bad in KNOWN_BAD:
        applies = bad.what != "no Jetson is supported" or target.integrated
        if applies and bad.first <= target.tensorrt[: len(bad.first)] and target.tensorrt[: len(bad.last)] <= bad.last:
            raise UsageError(
                f"target {text}: TensorRT {target.version} is known to fail: {bad.what} ({bad.source}); take another version"
            )
    return target


def opset_of(version: Version) -> int:
    """The newest ONNX operator set that a TensorRT version documents."""
    return max((opset for first, opset in _OPSETS if version >= first), default=13)


def parse_version(text: str) -> Version:
    """`10.3.0` as numbers; UsageError when it is none."""
    if not re.fullmatch(r"\d+(\.\d+){0,3}", text):
        raise UsageError(f"'{text}' is no TensorRT version; write it as 10.3 or 10.3.0.26")
    return tuple(int(part) for part in text.split("."))


def _of_version(text: str) -> Target:
    match = re.fullmatch(r"trt([\d.]+)(?:@sm(\d{2,3}))?", text)
    if match is None:
        raise UsageError(
            f"target '{text}' is not understood; write trtVERSION or trtVERSION@smNN, such as trt10.3@sm87"
        )
    version = parse_version(match[1])
    sm = int(match[2]) if match[2] else None
    # The GPUs of Jetsons: TX2, Xavier, Orin, Thor.
    integrated = sm in (53, 62, 72, 87, 110)
    return Target(text, version, opset_of(version), sm, integrated=integrated, source=_PARSER)


def _of_jetpack(text: str) -> Target:
    exact = [target for target in _JETSONS if target.name == text]
    # JetPack 6.2.1 has the TensorRT of 6.2; jetpack6 means its newest.
    family = [t for t in _JETSONS if t.name.startswith(f"{text}.") or text.startswith(f"{t.name}.")]
    if not exact and not family:
        known = [target.name for target in _JETSONS if target.tensorrt >= OLDEST]
        raise UsageError(
            f"there is no target '{text}'{plugins.suggestion(text, known)}; there are: {', '.join(known)}, openvino, and "
            "trtVERSION@smNN for any other"
        )
    return exact[0] if exact else family[-1]
