"""The README's commands and code run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FENCE = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets(checkout: Path) -> list[tuple[str, str]]:
    return FENCE.findall((checkout / "README.md").read_text(encoding="utf-8"))


@pytest.fixture
def workplace(checkout: Path, tmp_path: Path) -> Path:
    """A folder that looks like the checkout to the README's commands, and takes what they write."""
    (tmp_path / "configs").symlink_to(checkout / "configs")
    return tmp_path


def test_every_command_and_snippet_of_the_readme_runs(checkout: Path, workplace: Path) -> None:
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    found = snippets(checkout)
    assert {language for language, _ in found} == {"bash", "python"}
    for language, code in found:
        command = ["bash", "-euo", "pipefail", "-c", code] if language == "bash" else [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=workplace, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


def test_links_of_the_readme_lead_somewhere(checkout: Path) -> None:
    text = (checkout / "README.md").read_text(encoding="utf-8")
    targets = {target.split("#")[0] for target in re.findall(r"\]\(([^)]+)\)", text)}
    assert [target for target in sorted(targets) if not (checkout / target).exists()] == []
