"""A program that is killed at work, for what it leaves behind."""

import subprocess
import sys
from pathlib import Path


def kill_at_work(code: str) -> None:
    """Run Python `code` in a process of its own, and kill it as soon as it prints "go"."""
    root = Path(__file__).parents[1]
    process = subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"go\n"
    process.kill()
    process.wait()
    process.stdout.close()
