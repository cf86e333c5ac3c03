"""The commands and the code of docs/compare.md run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FENCE = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"^    (\S.*)$", re.MULTILINE)

for package in ("onnx", "faster_coco_eval", "matplotlib", "sqlalchemy"):
    pytest.importorskip(package)


def test_every_command_of_the_page_runs_and_says_what_the_page_says(checkout: Path, tmp_path: Path) -> None:
    text = (checkout / "docs" / "compare.md").read_text(encoding="utf-8")
    (tmp_path / "configs").symlink_to(checkout / "configs")
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    said = ""
    for language, code in FENCE.findall(text):
        command = ["bash", "-euo", "pipefail", "-c", code] if language == "bash" else [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        said += done.stdout
    (quoted,) = QUOTED.findall(FENCE.sub("", text))
    assert f"\n{quoted} " in said
