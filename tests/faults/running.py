"""`edgewright run` in a process of its own, as a user starts it, with faults put in."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.watching import Held, held

# Generous, for a machine that is busy with other tests.
PATIENCE_S = 120.0
_MAIN = "from edgewright.pipeline.cli import main; main()"


@dataclass
class Run:
    """A run that goes on, the file of its JSON lines, and that of what it says."""

    process: "subprocess.Popen[bytes]"
    lines_path: Path
    said_path: Path
    report_path: Path

    def lines(self) -> list[dict[str, Any]]:
        """The whole lines so far."""
        if not self.lines_path.exists():
            return []
        whole = self.lines_path.read_bytes().rpartition(b"\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def said(self) -> str:
        return self.said_path.read_text(errors="replace")

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.report_path.read_text())
        return report

    def held(self) -> Held:
        return held(self.process.pid)

    def until(self, condition: Callable[[], object], *, seconds: float = PATIENCE_S) -> None:
        """Wait for `condition`; AssertionError with what was said when the run ends or nothing comes of it."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"the run ended with {self.process.returncode}: {self.said()}"
            assert time.monotonic() < deadline, f"waited for {seconds:g} s: {self.said()}"
            time.sleep(0.05)

    def until_more(self, frames: int = 3) -> None:
        """Wait for so many further frames."""
        before = len(self.lines())
        self.until(lambda: len(self.lines()) >= before + frames)

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Its exit status after a signal."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        return self.process.wait(PATIENCE_S)


@contextmanager
def started(
    bundle: Path, folder: Path, *words: str, faults: str = "", prefix: Sequence[str] = (), debug: str = ""
) -> Iterator[Run]:
    """A run of `bundle` with a sink jsonl; `faults` is Python that is executed before, `prefix` a command around it."""
    lines_path = folder / "run.jsonl"
    said_path, report_path = folder / "said.txt", folder / "report.json"
    main = [sys.executable, "-c", f"{faults}\n{_MAIN}", *([debug] if debug else [])]
    command = [*prefix, *main, "run", str(bundle), "--threads", "1"]
    command += ["--sink", f"jsonl:{lines_path}", "--json", str(report_path), *words]
    with said_path.open("wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=_environment())
    try:
        yield Run(process, lines_path, said_path, report_path)
    finally:
        process.kill()
        process.wait()


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}
