"""GPUs of NVIDIA as their driver reports them; a Jetson's GPU is none of them."""

from types import TracebackType
from typing import Any

# Why a GPU runs slower than it could (nvml.h, nvmlClocksEventReason...): these are disturbances, while being idle, a power
# limit that was set, or clocks that an application asked for are how the machine is.
_SLOWDOWNS = {
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}


class Nvml:
    """The GPUs by number; none when the package, the driver or a GPU is missing."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._gpus: list[Any] = []
        try:
            import pynvml
        except ModuleNotFoundError:  # the extra `nvml` is not installed
            return
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:  # no driver
            return
        self._nvml = pynvml
        self._gpus = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]

    def gauges(self) -> dict[str, float]:
        """`gpuN_watts`, `gpuN_mhz`, `gpuN_celsius` and `gpuN_load` in percent; what a GPU does not support is left out."""
        found: dict[str, float] = {}
        for number, gpu in enumerate(self._gpus):
            for name, value in (
                ("watts", self._ask("nvmlDeviceGetPowerUsage", gpu, divisor=1000)),
                ("mhz", self._ask("nvmlDeviceGetClockInfo", gpu, 0)),
                ("celsius", self._ask("nvmlDeviceGetTemperature", gpu, 0)),
                ("load", self._ask("nvmlDeviceGetUtilizationRates", gpu, part="gpu")),
            ):
                if value is not None:
                    found[f"gpu{number}_{name}"] = value
        return found

    def slowdowns(self) -> tuple[str, ...]:
        """What slows any of the GPUs down right now."""
        bits = 0
        for gpu in self._gpus:
            bits |= int(self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", gpu) or 0)
        return tuple(words for bit, words in _SLOWDOWNS.items() if bits & bit)

    def _ask(self, question: str, *words: Any, divisor: float = 1, part: str | None = None) -> float | None:
        try:
            answer = getattr(self._nvml, question)(*words)
        except self._nvml.NVMLError:
            return None
        return float(getattr(answer, part) if part else answer) / divisor

    def close(self) -> None:
        if self._nvml is not None:
            self._nvml.nvmlShutdown()
            self._nvml, self._gpus = None, []

    def __enter__(self) -> "Nvml":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
