"""A machine with an imitated GPU: the compiled libcudart, an imitated TensorRT, and small networks to run on them."""

import ctypes
import gc
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from tests.fake_tensorrt.imitation import imitation, write_plan

from edgewright.runtime.tensorrt import cuda as cuda_module
from edgewright.runtime.tensorrt import runner as runner_module

Array = npt.NDArray[Any]
HERE = Path(__file__).parent


def compiler() -> str | None:
    """The C compiler of this machine, None without one."""
    return shutil.which("gcc") or shutil.which("cc")


def compiled(source: str, folder: Path) -> Path:
    """A shared library made of a C file of this folder."""
    library = folder / f"{source}.so"
    command = [str(compiler()), "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / f"{source}.c")]
    subprocess.run(command, check=True, capture_output=True)
    return library


@dataclass
class World:
    """One fresh GPU; `runner` and `cuda` are the modules under test, the project's own or changed ones."""

    library: Path
    version: str = "10.3.0"
    integrated: bool = False
    runner: ModuleType = runner_module
    cuda: ModuleType = cuda_module
    trt: Any = field(init=False)
    c: Any = field(init=False)

    def __post_init__(self) -> None:
        # Every copy of a library that is loaded has counters of its own.
        number = len(list(self.library.parent.glob("cudart-*")))
        self.path = shutil.copy(self.library, self.library.parent / f"cudart-{number}.so")
        self.c = ctypes.CDLL(str(self.path))
        self.c.fake_last_breach.restype = ctypes.c_char_p
        self.c.fake_integrated(int(self.integrated))
        self.trt = imitation(self.version, self.c)
        self.words: list[str] = []

    def open(self, model: onnx.ModelProto, profile: dict[str, Any] | None = None, **options: Any) -> Any:
        """A runner of the model's engine."""
        return self.open_plan(write_plan(self.version, model.SerializeToString(), profile), **options)

    def open_plan(self, plan: bytes, **options: Any) -> Any:
        logger = self.trt.Logger()
        logger.log = lambda severity, message: self.words.append(message)
        said = lambda: self.words[-1] if self.words else ""  # noqa: E731
        return self.runner.EngineRunner(self.trt, self.cuda.Cuda(self.path), logger, plan, said=said, **options)

    def assert_clean(self) -> None:
        """Nothing was done that CUDA forbids, and nothing is left."""
        if self.c.fake_live():
            gc.collect()
        assert self.c.fake_breaches() == 0, self.c.fake_last_breach().decode()
        assert self.c.fake_live() == 0, f"{self.c.fake_live()} pieces of memory, streams or graphs are left"


def network(
    nodes: list[onnx.NodeProto], inputs: Any, outputs: Any, constants: dict[str, Array] | None = None
) -> onnx.ModelProto:
    """A model of these nodes; inputs and outputs are (name, type, shape)."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


FLOAT, INT64, UINT8, HALF = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8, TensorProto.FLOAT16


def doubling() -> onnx.ModelProto:
    """Static: `twice` = 2x of (1, 3, 4, 4), and `sum` of all of it."""
    return network(
        [helper.make_node("Add", ["x", "x"], ["twice"]), helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0)],
        [("x", FLOAT, [1, 3, 4, 4])],
        [("twice", FLOAT, [1, 3, 4, 4]), ("sum", FLOAT, [])],
    )


def batched() -> onnx.ModelProto:
    """The batch is open; two outputs of other shapes and types than the input."""
    return network(
        [
            helper.make_node("ArgMax", ["x"], ["best"], axis=1, keepdims=0),
            helper.make_node("Cast", ["x"], ["half"], to=HALF),
        ],
        [("x", FLOAT, ["N", 6])],
        [("best", INT64, ["N"]), ("half", HALF, ["N", 6])],
    )


BATCHES = {"x": [(1, 6), (2, 6), (4, 6)]}


def positives() -> onnx.ModelProto:
    """The indices of positive values: how many, only the data tell. A second output is static."""
    return network(
        [
            helper.make_node("Greater", ["x", "zero"], ["positive"]),
            helper.make_node("NonZero", ["positive"], ["columns"]),
            helper.make_node("Transpose", ["columns"], ["where"], perm=[1, 0]),
            helper.make_node("Neg", ["x"], ["negated"]),
        ],
        [("x", FLOAT, [8])],
        [("where", INT64, ["found", 1]), ("negated", FLOAT, [8])],
        {"zero": np.float32(0) * np.ones((), np.float32)},
    )


def bytes_in() -> onnx.ModelProto:
    """uint8 in, int64 beside it, float out."""
    return network(
        [
            helper.make_node("Cast", ["image"], ["image_float"], to=FLOAT),
            helper.make_node("Cast", ["label"], ["label_float"], to=FLOAT),
            helper.make_node("Add", ["image_float", "label_float"], ["y"]),
        ],
        [("image", UINT8, [2, 2, 3]), ("label", INT64, [1])],
        [("y", FLOAT, [2, 2, 3])],
    )


def picture(seed: int, shape: tuple[int, ...] = (1, 3, 4, 4)) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
