"""Engines are built for real by TensorRT-RTX, which needs no GPU; files and commands need nothing."""

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from tests.calibration.graphs import Builder

from edgewright.runtime.errors import BackendError
from edgewright.runtime.spec import TensorSpec
from edgewright.runtime.tensorrt.build import build_engine
from edgewright.runtime.tensorrt.engine_file import (
    DeviceKey,
    check_plan,
    find_engine,
    plan_version,
    save_engine,
)
from edgewright.runtime.tensorrt.plan import BuildSpec
from edgewright.runtime.tensorrt.trtexec import trtexec_command

DEVICE = DeviceKey(
    tensorrt="10.3.0.30", gpu="Orin", sm=87, multiprocessors=8, cuda_runtime="12.6", driver="540.4", power_mode="MAXN"
)
INPUTS = (TensorSpec(name="images", shape=(1, 3, 16, 16), dtype="float32"),)


def spec(**changes: Any) -> BuildSpec:
    values: dict[str, Any] = {
        "target": "jetpack6.2", "tensorrt": "10.3.0", "dialect": "weak", "model": "model.onnx", "model_sha256": "0" * 64,
        "precision": "int8", "flags": ("FP16", "INT8"), "workspace_bytes": 2 << 30, "optimization_level": 3,
    }  # fmt: skip
    return BuildSpec(**{**values, **changes})


def strong(**changes: Any) -> BuildSpec:
    return spec(target="trt11.4", tensorrt="11.4.0", dialect="strong", flags=(), precision="fp32", **changes)


def small_network() -> bytes:
    net = Builder()
    net.conv(net.add("Relu", [net.conv("images", (3, 16), "stem")], "act"), (16, 16), "output")
    return bytes(net.model({"output": (1, 16, 16, 16)}).SerializeToString())


@pytest.fixture(scope="module")
def rtx() -> Any:
    trt = pytest.importorskip("tensorrt_rtx", reason="the optional package tensorrt-rtx is not installed")
    return SimpleNamespace(trt=trt, logger=trt.Logger(trt.Logger.INTERNAL_ERROR))


def test_an_engine_is_built_and_says_which_version_wrote_it(rtx: Any) -> None:
    built = build_engine(rtx.trt, rtx.logger, small_network(), strong())
    written = plan_version(built.engine)
    assert ".".join(map(str, written[:2])) in str(rtx.trt.__version__)


def test_what_the_parser_refuses_is_said_in_its_own_words(rtx: Any) -> None:
    net = Builder()
    tensor = net.conv("images", (3, 16), "stem")
    net.add("Unique", [tensor], "output")
    with pytest.raises(BackendError, match=r"cannot read model\.onnx: .*Unique"):
        build_engine(rtx.trt, rtx.logger, bytes(net.model({"output": (1,)}).SerializeToString()), strong())


def test_a_truncated_model_is_refused(rtx: Any) -> None:
    with pytest.raises(BackendError, match="cannot read"):
        build_engine(rtx.trt, rtx.logger, small_network()[:100], strong())


def test_an_open_shape_needs_a_batch_and_gets_a_profile(rtx: Any) -> None:
    model = onnx.load_from_string(small_network())
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    content = bytes(model.SerializeToString())
    with pytest.raises(BackendError, match=r"input 'images' .* has the open shape \[-1, 3, 16, 16\]"):
        build_engine(rtx.trt, rtx.logger, content, strong())
    assert build_engine(rtx.trt, rtx.logger, content, strong(batch=(1, 2, 4))).engine


def test_a_plan_for_another_version_is_not_built(rtx: Any) -> None:
    with pytest.raises(BackendError, match="types strongly"):
        build_engine(rtx.trt, rtx.logger, small_network(), spec())
    old = SimpleNamespace(__name__="tensorrt", __version__="10.7.0.23")
    with pytest.raises(BackendError, match=r"this is TensorRT 10\.7\.0\.23, the build is planned for 10\.3\.0"):
        build_engine(old, None, b"", spec())


def plan(version: tuple[int, ...] = (10, 3, 0, 30), magic: bytes = b"ftrt") -> bytes:
    return struct.pack("<4sI16x4B", magic, 0, *version) + b"\0" * 100


def test_the_version_is_read_from_the_header_as_trtexec_does() -> None:
    assert plan_version(plan()) == (10, 3, 0, 30)
    assert plan_version(plan((1, 7, 1, 74), b"vtrt")) == (1, 7, 1, 74)


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (plan()[:20], "truncated: 20 bytes"),
        (b"\x10\0\0\0" + b'{"names": {}}' + plan(), "no TensorRT plan"),
        (plan((8, 5, 2, 2)), r"built by TensorRT 8\.5\.2\.2, this is 10\.3\.0\.30"),
    ],
)
def test_an_engine_that_cannot_load_is_refused_before_tensorrt_sees_it(engine: bytes, said: str) -> None:
    with pytest.raises(BackendError, match=said):
        check_plan(engine, (10, 3, 0, 30))


def test_a_saved_engine_is_found_again(tmp_path: Path) -> None:
    path = save_engine(tmp_path / "engines", "main", plan(), spec(), DEVICE)
    found = find_engine(tmp_path / "engines", "main", spec(), DEVICE)
    assert found.path == path
    assert path.read_bytes() == plan()
    assert (tmp_path / "engines").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("build", "device", "said"),
    [
        ({"optimization_level": 5}, {}, "build.optimization_level was 3, is 5"),
        ({"model_sha256": "1" * 64}, {}, "build.model_sha256 was 000"),
        ({}, {"tensorrt": "10.7.0.23"}, "device.tensorrt was 10.3.0.30, is 10.7.0.23"),
        ({}, {"power_mode": "15W"}, "device.power_mode was MAXN, is 15W"),
        (
            {},
            {"gpu": "Orin NX", "multiprocessors": 4},
            "device.gpu was Orin, is Orin NX; device.multiprocessors was 8, is 4",
        ),
    ],
)
def test_a_miss_says_which_field_changed(tmp_path: Path, build: Any, device: Any, said: str) -> None:
    save_engine(tmp_path, "main", plan(), spec(), DEVICE)
    found = find_engine(tmp_path, "main", spec(**build), DEVICE.model_copy(update=device))
    assert found.path is None
    assert said in found.reason


def test_the_name_of_the_target_decides_nothing(tmp_path: Path) -> None:
    save_engine(tmp_path, "main", plan(), spec(), DEVICE)
    assert find_engine(tmp_path, "main", spec(target="jetpack6.1"), DEVICE).path is not None


def test_a_changed_truncated_or_linked_engine_is_not_loaded(tmp_path: Path) -> None:
    path = save_engine(tmp_path, "main", plan(), spec(), DEVICE)
    path.write_bytes(plan()[:-1])
    assert "not the file that was written" in find_engine(tmp_path, "main", spec(), DEVICE).reason
    path.write_bytes(plan()[:-1] + b"x")
    assert "not the file that was written" in find_engine(tmp_path, "main", spec(), DEVICE).reason
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(plan())
    path.unlink()
    path.symlink_to(elsewhere)
    assert "is a link" in find_engine(tmp_path, "main", spec(), DEVICE).reason


def test_a_damaged_record_is_a_miss(tmp_path: Path) -> None:
    save_engine(tmp_path, "main", plan(), spec(), DEVICE)
    (tmp_path / "main.engine.json").write_text("{")
    assert "damaged" in find_engine(tmp_path, "main", spec(), DEVICE).reason


COMMANDS = {
    "8.5.2": "trtexec --onnx=m.onnx --saveEngine=m.engine --memPoolSize=workspace:2048 --fp16 --int8 --profilingVerbosity=detailed "
    "--timingCacheFile=m.timing --duration=10 --warmUp=500 --iterations=100 --percentile=50,90,95,99 --useCudaGraph --useSpinWait "
    "--noDataTransfers --exportLayerInfo=m.layers.json",
    "10.3.0": "trtexec --onnx=m.onnx --saveEngine=m.engine --memPoolSize=workspace:2048 --fp16 --int8 --builderOptimizationLevel=3 "
    "--profilingVerbosity=detailed --timingCacheFile=m.timing --duration=10 --warmUp=500 --iterations=100 "
    "--percentile=50,90,95,99 --useCudaGraph --useSpinWait --noDataTransfers --exportLayerInfo=m.layers.json",
    "10.16.2": "trtexec --onnx=m.onnx --saveEngine=m.engine --memPoolSize=workspace:2048 --stronglyTyped "
    "--builderOptimizationLevel=3 --profilingVerbosity=detailed --timingCacheFile=m.timing --duration=10 --warmUp=500 "
    "--iterations=100 --percentile=50,90,95,99 --useCudaGraph --useSpinWait --noDataTransfers --exportLayerInfo=m.layers.json",
    "11.4.1": "trtexec --onnx=m.onnx --saveEngine=m.engine --memPoolSize=workspace:2048 --builderOptimizationLevel=3 "
    "--profilingVerbosity=detailed --timingCacheFile=m.timing --duration=10 --warmUp=500 --iterations=100 "
    "--percentile=50,90,95,99 --exportLayerInfo=m.layers.json",
}


@pytest.mark.parametrize("version", list(COMMANDS))
def test_the_trtexec_command_is_that_of_its_version(version: str) -> None:
    numbers = tuple(int(part) for part in version.split("."))
    changes: dict[str, Any] = {"tensorrt": version}
    if numbers >= (10, 12):
        changes |= {"dialect": "strong", "flags": ()}
    if numbers < (8, 6):
        changes |= {"optimization_level": None}
    words = trtexec_command(spec(**changes), Path("m.onnx"), Path("m.engine"), INPUTS, program="trtexec")
    assert " ".join(words) == COMMANDS[version]


def test_building_only_and_transfers_have_other_flags() -> None:
    def words(version: str, **options: Any) -> list[str]:
        return trtexec_command(spec(tensorrt=version), Path("m.onnx"), Path("m.engine"), INPUTS, **options)

    assert words("8.5.2", build_only=True)[-1] == "--buildOnly"
    assert words("10.3.0", build_only=True)[-1] == "--skipInference"
    assert "--noDataTransfers" not in words("10.3.0", transfers=True)
    assert "--includeDataTransfers" in words("11.4.1", transfers=True)


def test_batches_and_the_dla_are_said() -> None:
    command = trtexec_command(
        spec(batch=(1, 4, 8), dla_core=0, flags=("FP16", "INT8", "GPU_FALLBACK")),
        Path("m.onnx"),
        Path("m.engine"),
        INPUTS,
    )
    assert "--maxShapes=images:8x3x16x16" in command
    assert command[command.index("--useDLACore=0") + 1] == "--allowGPUFallback"
    assert "--useCudaGraph" not in command  # which captures no DLA
