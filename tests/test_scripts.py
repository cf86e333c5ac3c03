"""The scripts on a stand-in for uv, so that no test needs a network: what is installed, when, and what is repaired."""

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
SCRIPTS = [*sorted((CHECKOUT / "scripts").iterdir()), CHECKOUT / ".ci/run"]
SHELL_SCRIPTS = [path for path in SCRIPTS if path.is_file() and path.read_bytes().startswith(b"#!/usr/bin/env bash")]

# Keeps a log of its calls; `sync` makes the package importable, as the real one does, and fails when it is told to.
STAND_IN_UV = f"""#!/bin/sh
[ "$1" = --version ] || echo "$*" >> "$UV_LOG"
case "$1" in
  --version) echo "uv $UV_VERSION" ;;
  venv) for target; do :; done; "{sys.executable}" -m venv --clear --without-pip "$target" ;;
  sync) sleep "${{UV_SLEEP:-0}}"; echo > "$(echo "$UV_PROJECT_ENVIRONMENT"/lib/python*/site-packages)/edgewright.py"
        exit "${{UV_EXIT:-0}}" ;;
esac
"""


@dataclass
class Checkout:
    """A checkout in a folder with a space in its name, and the calls that its scripts made to uv."""

    root: Path
    commands: Path
    environment: dict[str, str] = field(default_factory=dict)

    def setup(self, *extras: str, **environment: str) -> subprocess.CompletedProcess[str]:
        with self.start(*extras, **environment) as process:
            stdout, stderr = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def start(self, *extras: str, **environment: str) -> subprocess.Popen[str]:
        script = [str(self.root / "scripts/setup"), *extras]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            script, cwd="/", env=self.environment | environment, text=True, stdout=pipe, stderr=pipe
        )

    def calls(self, word: str) -> list[str]:
        log = Path(self.environment["UV_LOG"])
        return [line for line in (log.read_text().splitlines() if log.exists() else []) if line.startswith(word)]

    def provide(self, name: str, script: str) -> None:
        path = self.commands / name
        path.write_text(script)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def checkout_with_uv(tmp_path: Path) -> Checkout:
    root, commands = tmp_path / "a checkout", tmp_path / "commands"
    (root / "scripts").mkdir(parents=True)
    commands.mkdir()
    shutil.copy(CHECKOUT / "scripts/setup", root / "scripts/setup")
    (root / "pyproject.toml").write_text("[project]\n")
    (root / "uv.lock").write_text("version = 1\n")
    pinned = re.search(r"^uv_version=(\S+)$", (root / "scripts/setup").read_text(), re.MULTILINE)
    assert pinned is not None
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "UV_LOG": str(tmp_path / "uv.log"),
        "UV_VERSION": pinned[1],
    }
    made = Checkout(root, commands, environment)
    made.provide("uv", STAND_IN_UV)
    return made


def test_the_second_setup_does_nothing(checkout_with_uv: Checkout) -> None:
    first, second = checkout_with_uv.setup("dev", "openvino"), checkout_with_uv.setup("openvino", "dev")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert len(checkout_with_uv.calls("sync")) == 1
    assert (second.stdout, second.stderr) == ("", "")


def test_setup_installs_frozen_versions_of_the_named_extras_and_removes_nothing(checkout_with_uv: Checkout) -> None:
    checkout_with_uv.setup("dev", "openvino")
    (call,) = checkout_with_uv.calls("sync")
    assert {"--frozen", "--inexact", "--no-python-downloads"} <= set(call.split())
    assert "--extra dev --extra openvino" in call
    assert "--extra opencv" not in call


def test_a_new_extra_is_added_and_the_earlier_ones_stay_known(checkout_with_uv: Checkout) -> None:
    for extras in (["openvino"], ["dev"], ["openvino"], ["openvino", "dev"]):
        assert checkout_with_uv.setup(*extras).returncode == 0
    assert [call.partition("--extra ")[2] for call in checkout_with_uv.calls("sync")] == ["openvino", "dev"]


@pytest.mark.parametrize("name", ["pyproject.toml", "uv.lock"])
def test_a_changed_project_file_is_installed(checkout_with_uv: Checkout, name: str) -> None:
    checkout_with_uv.setup("dev")
    with (checkout_with_uv.root / name).open("a") as file:
        file.write("# changed\n")
    checkout_with_uv.setup("dev")
    assert len(checkout_with_uv.calls("sync")) == 2
    assert len(checkout_with_uv.calls("venv")) == 1


def test_a_failed_installation_is_tried_again(checkout_with_uv: Checkout) -> None:
    assert checkout_with_uv.setup("dev", UV_EXIT="1").returncode != 0
    assert checkout_with_uv.setup("dev").returncode == 0
    assert len(checkout_with_uv.calls("sync")) == 2


def _move(checkout: Checkout) -> None:
    checkout.root = checkout.root.rename(checkout.root.with_name("moved here"))


def _copy(checkout: Checkout) -> None:
    target = checkout.root.with_name("a copy")
    shutil.copytree(checkout.root, target, symlinks=True)
    checkout.root = target


def _remove_python(checkout: Checkout) -> None:
    for path in (checkout.root / ".venv/bin").glob("python*"):
        path.unlink()


def _truncate(checkout: Checkout) -> None:
    shutil.rmtree(checkout.root / ".venv/bin")


@pytest.mark.parametrize("damage", [_move, _copy, _remove_python, _truncate])
def test_a_venv_that_does_not_work_here_is_made_anew(
    checkout_with_uv: Checkout, damage: Callable[[Checkout], None]
) -> None:
    checkout_with_uv.setup("dev")
    damage(checkout_with_uv)
    assert checkout_with_uv.setup("dev").returncode == 0
    assert len(checkout_with_uv.calls("venv")) == 2
    prefix = [str(checkout_with_uv.root / ".venv/bin/python"), "-c", "import edgewright, sys; print(sys.prefix)"]
    assert subprocess.check_output(prefix, text=True).strip() == str(checkout_with_uv.root / ".venv")


def test_calls_at_the_same_time_install_once(checkout_with_uv: Checkout) -> None:
    running = [checkout_with_uv.start("dev", UV_SLEEP="0.5") for _ in range(3)]
    outputs = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], outputs
    assert len(checkout_with_uv.calls("sync")) == 1
    assert sum("waiting for another set-up" in stderr for _, stderr in outputs) == 2


def test_a_python_that_does_not_fit_is_refused_in_one_sentence(checkout_with_uv: Checkout) -> None:
    checkout_with_uv.provide("old-python", "#!/bin/sh\nexit 1\n")
    refused = checkout_with_uv.setup("dev", PYTHON="old-python")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "no Python 3.10 to 3.14" in refused.stderr
    assert "old-python" in refused.stderr


WITHOUT_WINDOWS = "--no-install-package opencv-python --no-install-package opencv-contrib-python --group headless"


@pytest.mark.parametrize(
    ("machine", "brings_cv2", "brings_libgl", "wanted"),
    [
        ("x86_64", False, True, []),
        ("x86_64", False, False, [WITHOUT_WINDOWS]),
        ("aarch64", True, False, ["--system-site-packages"]),
        ("aarch64", False, True, ["--extra opencv"]),
        ("aarch64", False, False, [WITHOUT_WINDOWS]),
    ],
)
def test_setup_takes_the_opencv_that_this_machine_can_load(
    checkout_with_uv: Checkout, machine: str, brings_cv2: bool, brings_libgl: bool, wanted: list[str]
) -> None:
    checkout_with_uv.provide("uname", f"#!/bin/sh\necho {machine}\n")
    checkout_with_uv.provide(
        "some-python",
        f"""#!/bin/sh
case "$*" in
  *_base_executable*) command -v "$0" ;;
  *"import cv2"*) exit {int(not brings_cv2)} ;;
  *libGL*) exit {int(not brings_libgl)} ;;
  *) exec "{sys.executable}" "$@" ;;
esac
""",
    )
    for _ in range(2):
        assert checkout_with_uv.setup("openvino", PYTHON="some-python").returncode == 0
    calls = [*checkout_with_uv.calls("venv"), *checkout_with_uv.calls("sync")]
    options = ["--system-site-packages", "--extra opencv", WITHOUT_WINDOWS]
    assert len(calls) == 2
    assert [option for option in options if any(option in call for call in calls)] == wanted


@pytest.mark.parametrize(
    ("brings_libgl", "wanted"),
    [
        (True, "--no-install-package opencv-python "),
        (
            False,
            "--no-install-package opencv-python --no-install-package opencv-contrib-python --group headless-contrib",
        ),
    ],
)
def test_the_contributed_modules_come_instead_of_the_plain_opencv_and_not_beside_it(
    checkout_with_uv: Checkout, brings_libgl: bool, wanted: str
) -> None:
    script = f"""#!/bin/sh
case "$*" in
  *_base_executable*) command -v "$0" ;;
  *libGL*) exit {int(not brings_libgl)} ;;
  *) exec "{sys.executable}" "$@" ;;
esac
"""
    checkout_with_uv.provide("uname", "#!/bin/sh\necho x86_64\n")
    checkout_with_uv.provide("some-python", script)
    assert checkout_with_uv.setup("proposals", PYTHON="some-python").returncode == 0
    (call,) = checkout_with_uv.calls("sync")
    assert f"{wanted} ".strip() in call


@pytest.mark.parametrize("path", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_a_script_says_what_it_does_and_stops_at_the_first_failure(path: Path) -> None:
    first, purpose, *rest = path.read_text().splitlines()
    assert first == "#!/usr/bin/env bash"
    assert re.match(r"# \S.{20,}", purpose)
    assert "set -euo pipefail" in rest
    assert os.access(path, os.X_OK)
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
