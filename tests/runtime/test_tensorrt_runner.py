"""Engines run for real through ctypes, on imitations of libcudart and of TensorRT 8.6, 10.3 and 11.4 that forgive nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fake_tensorrt.checks import CHECKS
from tests.fake_tensorrt.imitation import VERSIONS
from tests.fake_tensorrt.world import World, compiled, compiler, doubling, picture

from edgewright.runtime.backends.trt import logger_of
from edgewright.runtime.errors import BackendError
from edgewright.runtime.tensorrt.allocator import allocator_type
from edgewright.runtime.tensorrt.cuda import Cuda, CudaError
from edgewright.runtime.tensorrt.driver import preflight

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler to make the imitation of libcudart")


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., World]:
    library = compiled("cudart", tmp_path_factory.mktemp("cudart"))
    return lambda version, integrated: World(library, version, integrated)


@pytest.mark.parametrize("integrated", [False, True], ids=["copies", "zero copy"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__.removeprefix("check_") for check in CHECKS])
def test_what_must_hold_of_the_runner(
    make: Callable[..., World], check: Callable[..., Any], version: str, integrated: bool
) -> None:
    check(make, version, integrated)


def test_the_layers_are_told_by_the_inspector(make: Callable[..., World]) -> None:
    world = make("11.4.0", False)
    with world.open(doubling()) as runner:
        assert '"Layers"' in runner.layers()


def test_without_graphs_every_run_is_enqueued_anew(make: Callable[..., World]) -> None:
    world = make("10.3.0", False)
    with world.open(doubling(), graphs=False) as runner:
        for seed in range(3):
            assert runner.infer({"x": picture(seed)})["twice"][0, 0, 0, 0] == 2 * picture(seed)[0, 0, 0, 0]
        assert runner.settings["cuda_graph"] is False
    world.assert_clean()


def test_a_missing_or_too_old_cuda_runtime_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="the CUDA runtime is not found"):
        Cuda(tmp_path / "libcudart.so")
    driver = compiled("cuda_driver", tmp_path)
    with pytest.raises(BackendError, match=r"has no cudaRuntimeGetVersion; CUDA 11\.4"):
        Cuda(driver)


def test_the_real_cuda_runtime_has_every_function_and_says_that_the_driver_is_missing() -> None:
    """NVIDIA's own library, which a package of PyTorch or CUDA brings, on a machine without a driver."""
    try:
        preflight()
    except BackendError:
        pass
    else:
        pytest.skip("this machine has a driver")
    with pytest.raises(BackendError) as caught:
        Cuda()
    if not isinstance(caught.value, CudaError):
        pytest.skip("no CUDA runtime is installed")
    assert caught.value.code == 35
    assert "cudaErrorInsufficientDriver (35)" in str(caught.value)
    assert "update the driver" in str(caught.value)


def test_nvidias_own_classes_take_our_allocator_and_logger(make: Callable[..., World]) -> None:
    """The real base classes, which an imitation may misjudge; no engine can be loaded without a driver."""
    rtx = pytest.importorskip("tensorrt_rtx", reason="the optional package tensorrt-rtx is not installed")
    world = make("11.4.0", False)
    allocator = allocator_type(rtx)(Cuda(world.path))
    assert allocator.reallocate_output_async("y", 0, 1000, 256, 1) == allocator.buffer.address != 0
    assert allocator.buffer.size == 1000
    allocator.notify_shape("y", rtx.Dims([2, 3]))
    assert allocator.shape == (2, 3)
    allocator.close()
    world.assert_clean()
    log = logger_of(rtx)
    assert log is logger_of(rtx)
    # Neither keeps what it was made from.
    builder = rtx.Builder(log)
    network = builder.create_network(0)
    rtx.OnnxParser(network, log).parse(b"no model")
    assert "parse" in log.quoted().lower()
