"""The times that trtexec prints, from version 8.2 on."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_VALUE = r"([\d.eE+-]+)"
_LINE = re.compile(r"\] (Latency|Enqueue Time|H2D Latency|GPU Compute Time|D2H Latency): (min = .*)")
_PAIR = re.compile(rf"(min|max|mean|median|percentile\((\d+)%\)) = {_VALUE} ms")
_THROUGHPUT = re.compile(rf"\] Throughput: {_VALUE} qps")
_FIELDS = {
    "Latency": "latency",
    "Enqueue Time": "enqueue",
    "H2D Latency": "to_device",
    "GPU Compute Time": "compute",
    "D2H Latency": "to_host",
}


@dataclass(frozen=True)
class TrtexecTimes:
    """Its summary: times in ms by what was timed ("latency", "enqueue", "to_device", "compute", "to_host") and by statistic
    ("min", "max", "mean", "median", "p99"); `warnings` are what it complains of, such as unstable clocks."""

    queries_per_s: float
    ms: Mapping[str, Mapping[str, float]]
    warnings: tuple[str, ...] = ()

    @property
    def with_transfers(self) -> bool:
        """Whether inputs and outputs were copied; without, these times are 0 or missing."""
        return any(self.ms.get(name, {}).get("max", 0.0) > 0 for name in ("to_device", "to_host"))


def parse_trtexec(text: str) -> TrtexecTimes | None:
    """The performance summary of what trtexec printed; None when it printed none, as after a failure."""
    throughput = _THROUGHPUT.search(text)
    if throughput is None:
        return None
    ms = {_FIELDS[name]: _statistics(values) for name, values in _LINE.findall(text)}
    warnings = re.findall(r"\[W\] \* (.+)", text)
    return TrtexecTimes(float(throughput[1]), ms, tuple(warning.strip() for warning in warnings))


def _statistics(text: str) -> dict[str, float]:
    return {f"p{percent}" if percent else name: float(value) for name, percent, value in _PAIR.findall(text)}
