"""Building in a process of its own: for real with TensorRT-RTX where it is installed, and with an imitation that fails on order."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest
from tests.fake_tensorrt.builds import BUILD_CHECKS
from tests.fake_tensorrt.world import doubling
from tests.runtime.test_tensorrt_build import DEVICE, small_network, spec, strong

from edgewright.runtime.errors import BackendError, UsageError
from edgewright.runtime.tensorrt import build as build_module
from edgewright.runtime.tensorrt.building import _parsed, ensure_engine
from edgewright.runtime.tensorrt.engine_file import plan_version, read_record

IMITATION = "tests.fake_tensorrt.tensorrt"
RTX = DEVICE.model_copy(update={"tensorrt": "1.7.1"})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(doubling(), str(path))
    return path


@pytest.fixture
def build(tmp_path: Path, model: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Build with the imitation of 10.3 in `tmp_path`/cache, doing what `misfortune` says."""
    monkeypatch.setenv("PYTHONPATH", str(checkout))

    def ensure(misfortune: str = "", said: list[str] | None = None, **options: Any) -> Any:
        monkeypatch.setenv("FAKE_TENSORRT_BUILD", misfortune)
        tell = (said if said is not None else []).append
        return ensure_engine(tmp_path / "cache", "main", model, spec(), DEVICE, tell=tell, module=IMITATION, **options)

    return ensure


def test_tensorrt_rtx_builds_in_a_process_of_its_own(tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="the optional package tensorrt-rtx is not installed")
    path, said = tmp_path / "model.onnx", list[str]()
    path.write_bytes(small_network())
    engine = ensure_engine(tmp_path / "cache", "main", path, strong(), RTX, tell=said.append, module="tensorrt_rtx")
    assert ".".join(map(str, plan_version(engine.path.read_bytes())[:2])) in str(trt.__version__)
    assert "no engine was built yet" in said[0]
    record = read_record(tmp_path / "cache/main.engine.json")
    assert record is not None
    assert record.spec == strong()


def test_what_tensorrt_rtx_refuses_comes_back_in_its_own_words(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="the optional package tensorrt-rtx is not installed")
    model = onnx.load_from_string(small_network())
    model.graph.node[-1].op_type = "Unique"
    onnx.save(model, str(tmp_path / "model.onnx"))
    with pytest.raises(BackendError, match=r"TensorRT .* cannot read model\.onnx: .*Unique"):
        ensure_engine(
            tmp_path / "cache", "main", tmp_path / "model.onnx", strong(), RTX, tell=print, module="tensorrt_rtx"
        )
    assert not list((tmp_path / "cache").glob("*.engine*"))


def test_an_engine_is_built_once_and_the_timings_are_kept(build: Any, tmp_path: Path) -> None:
    said: list[str] = []
    first = build(said=said)
    assert first.reason == "no engine was built yet"
    assert said[0].startswith("building model.onnx for TensorRT 10.3.0.30 on Orin")
    before = first.path.stat().st_mtime_ns
    again = build(misfortune="crash")
    assert (again.path, again.reason) == (first.path, None)
    assert again.path.stat().st_mtime_ns == before
    assert (tmp_path / "cache/10.3.0.30-sm87.timing").read_bytes() == b"timed;"
    first.path.unlink()
    build()
    assert (tmp_path / "cache/10.3.0.30-sm87.timing").read_bytes() == b"timed;timed;"


@pytest.mark.parametrize(
    ("misfortune", "said"),
    [
        ("none", r"built no engine of model\.onnx .*TensorRT says: Error Code 10: could not find any implementation"),
        ("kill", "the system stopped the build of model.onnx, most likely because memory ran out"),
        ("crash", "TensorRT ended the build of model.onnx with SIGSEGV"),
        ("full", "No space left on device; make room on that disk"),
        ("memory", "memory ran out while model.onnx was built"),
    ],
)
def test_a_build_that_fails_says_how_and_leaves_nothing(build: Any, tmp_path: Path, misfortune: str, said: str) -> None:
    with pytest.raises(BackendError, match=said) as caught:
        build(misfortune)
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["build.lock"]
    assert build().path.is_file()


def test_a_build_that_hangs_is_stopped(build: Any) -> None:
    with pytest.raises(BackendError, match="took more than 0 minutes and was stopped"):
        build("hang", timeout_s=1.5)


def test_a_module_that_is_not_there_is_said(tmp_path: Path, model: Path) -> None:
    with pytest.raises(BackendError, match="this Python has no TensorRT"):
        ensure_engine(tmp_path / "cache", "main", model, spec(), DEVICE, tell=print, module="tensorrt_of_nowhere")


def test_a_folder_that_cannot_be_made_is_misuse(tmp_path: Path, model: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write an engine into"):
        ensure_engine(tmp_path / "file/cache", "main", model, spec(), DEVICE, tell=print)


def test_a_disk_that_is_full_when_the_engine_is_saved_has_its_sentence(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgewright.runtime.tensorrt.building.save_engine", full)
    with pytest.raises(BackendError, match="No space left on device; make room there, or choose another folder"):
        build()


def test_a_second_process_waits_and_takes_what_the_first_built(build: Any, tmp_path: Path) -> None:
    """Both start while a third holds the lock, so that neither finds the engine of the other before it waits."""
    import fcntl

    (tmp_path / "cache").mkdir()
    said: list[str] = []
    engines: list[Any] = []
    with (tmp_path / "cache/build.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        threads = [threading.Thread(target=lambda: engines.append(build(said=said))) for _ in range(2)]
        for thread in threads:
            thread.start()
        while sum("waiting" in text for text in said) < 2:
            assert any(thread.is_alive() for thread in threads)
    for thread in threads:
        thread.join()
    assert sorted(engine.reason is None for engine in engines) == [False, True]
    assert sum(text.startswith("building") for text in said) == 1


@pytest.mark.parametrize("check", BUILD_CHECKS, ids=[check.__name__ for check in BUILD_CHECKS])
def test_the_builder_keeps_to_what_each_version_has(check: Callable[[ModuleType], None]) -> None:
    check(build_module)


def test_progress_tells_what_is_left(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewright.runtime.tensorrt.building._TOLD_EVERY_S", 0.0)
    said: list[str] = []
    build(said=said)
    assert any(text.startswith("Building engine: 2 of 4 (0:0") and "about 0:00 more" in text for text in said), said


def test_a_line_that_a_plugin_prints_is_no_message() -> None:
    assert _parsed("[I] a plugin speaks") == {}
    assert _parsed(json.dumps(["no", "object"])) == {}
