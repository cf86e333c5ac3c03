"""What must hold of the code that runs engines, each as a function of a fresh GPU: for tests, and for the mutants of that code."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tests.fake_tensorrt.imitation import VERSIONS, write_plan
from tests.fake_tensorrt.world import BATCHES, World, batched, bytes_in, doubling, picture, positives

from edgewright.runtime.errors import BackendError

Make = Callable[..., World]
_OUT_OF_MEMORY = 2
# Wrong numbers of one run may be those of the last: every check of numbers runs more than two, with other pictures.
_RUNS = 4


def check_numbers(make: Make, version: str, integrated: bool) -> None:
    """Static shapes: as a plain run, as a captured graph, and as its relaunch."""
    world = make(version, integrated)
    with world.open(doubling()) as runner:
        assert [(t.name, t.shape, t.dtype) for t in runner.inputs] == [("x", (1, 3, 4, 4), "float32")]
        assert [(t.name, t.shape) for t in runner.outputs] == [("twice", (1, 3, 4, 4)), ("sum", ())]
        for seed in range(_RUNS):
            outputs = runner.infer({"x": picture(seed)})
            np.testing.assert_array_equal(outputs["twice"], 2 * picture(seed))
            np.testing.assert_allclose(outputs["sum"], picture(seed).sum(), rtol=1e-5)
        assert runner.settings["cuda_graph"] is True
        assert runner.settings["zero_copy"] is integrated
        assert (world.c.fake_copies() == 0) is integrated
        del outputs
    world.assert_clean()


def check_open_batches(make: Make, version: str, integrated: bool) -> None:
    """Batches go up and down within the profile, and not beyond it."""
    world = make(version, integrated)
    with world.open(batched(), BATCHES) as runner:
        assert runner.inputs[0].shape == (-1, 6)
        for seed, size in enumerate((4, 1, 3, 2, 4)):
            x = picture(seed, (size, 6))
            outputs = runner.infer({"x": x})
            np.testing.assert_array_equal(outputs["best"], x.argmax(1))
            np.testing.assert_array_equal(outputs["half"], x.astype(np.float16))
            assert outputs["half"].dtype == np.float16
        assert runner.settings["cuda_graph"] is False
        with pytest.raises(
            BackendError, match=r"'x' has shape \[5, 6\], the engine was built for \[1, 6\] to \[4, 6\]"
        ):
            runner.infer({"x": picture(0, (5, 6))})
        np.testing.assert_array_equal(runner.infer({"x": picture(9, (2, 6))})["best"], picture(9, (2, 6)).argmax(1))
        del outputs
    world.assert_clean()


def check_open_outputs(make: Make, version: str, integrated: bool) -> None:
    """Outputs whose size the data tell: none, some and all rows."""
    world = make(version, integrated)
    with world.open(positives()) as runner:
        for x in (np.arange(8) - 4.0, -np.ones(8), np.ones(8), np.arange(8) - 6.0):
            outputs = runner.infer({"x": x.astype(np.float32)})
            np.testing.assert_array_equal(outputs["where"][:, 0], np.flatnonzero(x > 0))
            np.testing.assert_array_equal(outputs["negated"], -x)
        assert runner.settings["cuda_graph"] is False
        del outputs
    world.assert_clean()


def check_types(make: Make, version: str, integrated: bool) -> None:
    """uint8 pictures and int64 numbers, which TensorRT 8 binds as int32."""
    world = make(version, integrated)
    with world.open(bytes_in()) as runner:
        image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
        for label in (7, -1, 30):
            outputs = runner.infer({"image": image, "label": np.array([label])})
            np.testing.assert_array_equal(outputs["y"], image.astype(np.float32) + label)
        wide = {"image": image, "label": np.array([2**40])}
        if version.startswith("8."):
            with pytest.raises(BackendError, match="beyond 32 bits"):
                runner.infer(wide)
        else:
            np.testing.assert_array_equal(runner.infer(wide)["y"], (image + np.float32(2**40)))
        del outputs
    world.assert_clean()


def check_wrong_feeds(make: Make, version: str, integrated: bool) -> None:
    """A missing input, a wrong shape and a wrong type are refused; a strided array is taken as it looks."""
    world = make(version, integrated)
    with world.open(doubling()) as runner:
        for feeds, said in (
            ({"y": picture(0)}, "'x' is not fed"),
            ({"x": picture(0, (1, 3, 4, 5))}, r"wants float32 \[1, 3, 4, 4\]"),
            ({"x": picture(0).astype(np.float64)}, "got float64"),
        ):
            with pytest.raises(BackendError, match=said):
                runner.infer(feeds)
        strided = picture(3, (1, 3, 4, 8))[..., ::2]
        np.testing.assert_array_equal(runner.infer({"x": strided})["twice"], 2 * strided)
    world.assert_clean()


def check_bad_engines(make: Make, version: str, integrated: bool) -> None:
    """An engine of another version, a truncated, a damaged and a foreign one each get their own sentence."""
    other = VERSIONS[VERSIONS.index(version) - 1]
    plan = write_plan(version, doubling().SerializeToString())
    for content, said in (
        (write_plan(other, b""), f"built by TensorRT {other}.*, this is {version}"),
        (plan[:10], "truncated: 10 bytes"),
        (plan[:-5], "cannot read the engine .*corrupted"),
        (b"\0" * 64, "no TensorRT plan"),
    ):
        world = make(version, integrated)
        with pytest.raises(BackendError, match=said):
            world.open_plan(content)
        world.assert_clean()


def check_views_outlive_the_engine(make: Make, version: str, integrated: bool) -> None:
    """An array that a caller kept is readable after close, and its memory goes with it; closing twice is no error."""
    world = make(version, integrated)
    runner = world.open(doubling())
    kept = runner.infer({"x": picture(1)})["twice"]
    runner.close()
    runner.close()
    np.testing.assert_array_equal(kept, 2 * picture(1))
    del kept, runner
    world.assert_clean()


def check_every_failure_of_cuda(make: Make, version: str, integrated: bool) -> None:
    """Whichever call fails: an error of our own that names it, or a run that does without, and nothing is left."""
    for model, profile, feeds in _sessions():
        for call in _calls_of(make(version, integrated), model, profile, feeds):
            world = make(version, integrated)
            world.c.fake_fail_at(call, _OUT_OF_MEMORY)
            problem = _problem_of(world, model, profile, feeds)
            assert problem is None or "failed: cudaErrorMemoryAllocation (2), out of memory" in problem
            assert problem is None or "memory is full" in problem
            world.assert_clean()


def check_every_failure_of_tensorrt(make: Make, version: str, integrated: bool) -> None:
    """Whichever call answers None or False: an error that carries TensorRT's words, and nothing is left."""
    for model, profile, feeds in _sessions():
        world = make(version, integrated)
        assert _problem_of(world, model, profile, feeds) is None
        for call in range(world.trt.fake.calls):
            world = make(version, integrated)
            world.trt.fake.fail_at = call
            problem = _problem_of(world, model, profile, feeds)
            assert (problem or "TensorRT").startswith(("TensorRT", "input"))
            assert problem is not None or world.trt.fake.calls > call
            world.assert_clean()


def check_failures_that_must_be_told(make: Make, version: str, integrated: bool) -> None:
    """A failure while opening is told then, and one in the first run is not swallowed."""
    world = make(version, integrated)
    with world.open(doubling()):
        opening = world.c.fake_calls()
    for call in range(opening):
        world = make(version, integrated)
        world.c.fake_fail_at(call, _OUT_OF_MEMORY)
        assert _problem_of(world, doubling(), None, [{"x": picture(0)}]) is not None, f"call {call}"
    world = make(version, integrated)
    with world.open(doubling()) as runner:
        world.trt.fake.fail_at = world.trt.fake.calls
        with pytest.raises(BackendError, match="could not run the engine"):
            runner.infer({"x": picture(0)})
    for model, profile, _ in _sessions():
        answers = range(_answers_while_opening(make(version, integrated), model, profile))
        for call in answers:
            world = make(version, integrated)
            world.trt.fake.fail_at = call
            assert _problem_of(world, model, profile, []) is not None, f"answer {call}"
            world.assert_clean()


def check_a_failed_capture_is_done_without(make: Make, version: str, integrated: bool) -> None:
    """What cannot be captured is run as it is, then and later."""
    world = make(version, integrated)
    with world.open(doubling()) as runner:
        runner.infer({"x": picture(0)})
        world.trt.fake.fail_at = world.trt.fake.calls
        for seed in (1, 2, 3):
            np.testing.assert_array_equal(runner.infer({"x": picture(seed)})["twice"], 2 * picture(seed))
        assert runner.settings["cuda_graph"] is False
    world.assert_clean()


def check_a_failed_run_is_over(make: Make, version: str, integrated: bool) -> None:
    """After a run that failed half way the next one is right."""
    for call in range(12):
        world = make(version, integrated)
        with world.open(doubling(), graphs=False) as runner:
            runner.infer({"x": picture(0)})
            world.c.fake_fail_at(call, _OUT_OF_MEMORY)
            try:
                runner.infer({"x": picture(1)})
            except BackendError:
                world.c.fake_fail_at(-1, 0)
                np.testing.assert_array_equal(runner.infer({"x": picture(2)})["twice"], 2 * picture(2))
        world.assert_clean()


CHECKS = tuple(function for name, function in list(globals().items()) if name.startswith("check_"))


def _sessions() -> Iterator[tuple[Any, Any, list[Any]]]:
    yield doubling(), None, [{"x": picture(seed)} for seed in range(3)]
    yield batched(), BATCHES, [{"x": picture(size, (size, 6))} for size in (2, 4)]
    yield positives(), None, [{"x": picture(seed, (8,))} for seed in range(2)]


def _calls_of(world: World, model: Any, profile: Any, feeds: list[Any]) -> range:
    assert _problem_of(world, model, profile, feeds) is None
    return range(world.c.fake_calls())


def _answers_while_opening(world: World, model: Any, profile: Any) -> int:
    world.open(model, profile).close()
    return int(world.trt.fake.calls)


def _problem_of(world: World, model: Any, profile: Any, feeds: list[Any]) -> str | None:
    """What an own error said of opening, running and closing; any other exception is a failure of the check."""
    try:
        with world.open(model, profile) as runner:
            for feed in feeds:
                first = runner.infer(feed)
                name = runner.outputs[-1].name
                assert np.isfinite(np.asarray(first[name], np.float64)).all()
                del first
    except BackendError as err:
        return str(err)
    return None
