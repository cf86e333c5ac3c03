"""tegrastats, which Jetson boards bring along, run beside a benchmark."""

import shutil
import subprocess
import threading
from typing import IO

from edgewright.pipeline.ledger.jetson import Tegrastats, parse_tegrastats


class TegrastatsReader:
    """Keeps the newest line of a tegrastats process; without that program its gauges are empty."""

    def __init__(self, command: str = "tegrastats", *, interval_ms: int = 1000) -> None:
        self._newest: Tegrastats | None = None
        found = shutil.which(command)
        self._process = None
        if found is not None:
            self._process = subprocess.Popen(
                [found, "--interval", str(interval_ms)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()

    def gauges(self) -> dict[str, float]:
        """`gpu_load` in percent, `gpu_mhz`, `NAME_celsius` and `RAIL_watts`."""
        line = self._newest
        if line is None:
            return {}
        gpu = {"gpu_load": line.gpu_load, "gpu_mhz": line.gpu_mhz}
        return {
            **{name: float(value) for name, value in gpu.items() if value is not None},
            **{f"{name}_celsius": value for name, value in line.celsius.items()},
            **{f"{name}_watts": value / 1000 for name, value in line.rails_mw.items()},
        }

    def close(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def _read(self, lines: IO[str]) -> None:
        for line in lines:
            self._newest = parse_tegrastats(line) or self._newest
