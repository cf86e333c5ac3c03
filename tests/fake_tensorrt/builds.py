"""What must hold of the code that builds engines, each as a function of that module, with the imitations of each version."""

from types import ModuleType
from typing import Any

import pytest
from tests.fake_tensorrt.imitation import VERSIONS, imitation
from tests.fake_tensorrt.world import batched, doubling

from edgewright.runtime.errors import BackendError
from edgewright.runtime.tensorrt.engine_file import plan_version
from edgewright.runtime.tensorrt.plan import BuildSpec

_CHANGES: dict[str, dict[str, Any]] = {
    "8.6.1": {"network_flags": ("EXPLICIT_BATCH",), "flags": ("FP16",)},
    "10.3.0": {"flags": ("FP16",)},
    "11.4.0": {"dialect": "strong"},
}


def spec(version: str, **changes: Any) -> BuildSpec:
    """A build as it is planned for that version."""
    values: dict[str, Any] = {
        "target": "any", "tensorrt": version, "dialect": "weak", "model": "model.onnx", "model_sha256": "0" * 64,
        "precision": "fp16", "workspace_bytes": 1 << 30, "optimization_level": 3,
    }  # fmt: skip
    return BuildSpec(**{**values, **_CHANGES[version], **changes})


def build_an_engine(build: ModuleType) -> None:
    """Every version builds, with what it has; progress is told from 10 on."""
    for version in VERSIONS:
        trt, told = imitation(version), list[tuple[str, int, int]]()
        built = build.build_engine(
            trt,
            trt.Logger(),
            doubling().SerializeToString(),
            spec(version),
            timing_cache=b"known;",
            tell=lambda *step, told=told: told.append(step),
        )
        assert ".".join(map(str, plan_version(built.engine)[:3])) == version
        assert built.timing_cache == b"known;timed;"
        assert (("Tactic selection", 2, 2) in told) == (version != "8.6.1")
        assert trt.fake.flags == list(_CHANGES[version].get("flags", ()))


def build_an_open_batch(build: ModuleType) -> None:
    """An open batch gets a profile, and without one is refused."""
    for version in VERSIONS:
        trt, model = imitation(version), batched().SerializeToString()
        with pytest.raises(BackendError, match=r"has the open shape \[-1, 6\]"):
            build.build_engine(trt, trt.Logger(), model, spec(version))
        built = build.build_engine(trt, trt.Logger(), model, spec(version, batch=(1, 2, 4)))
        assert b"[[1, 6], [2, 6], [4, 6]]" in built.engine


def build_for_the_dla(build: ModuleType) -> None:
    """What is planned for a core of the DLA is built for that core, with the GPU for what it lacks; other plans are not."""
    for version in VERSIONS:
        trt, flags = imitation(version), (*_CHANGES[version].get("flags", ()), "GPU_FALLBACK")
        build.build_engine(trt, trt.Logger(), doubling().SerializeToString(), spec(version, dla_core=1, flags=flags))
        assert trt.fake.place == ("DLA", 1)
        assert "GPU_FALLBACK" in trt.fake.flags
        build.build_engine(trt, trt.Logger(), doubling().SerializeToString(), spec(version))
        assert trt.fake.place[0] == "GPU"


def build_what_cannot_be(build: ModuleType) -> None:
    """What the parser refuses, what the builder answers with None, and a plan for another version."""
    for version in VERSIONS:
        trt = imitation(version)
        model = doubling()
        model.graph.node[0].op_type = "Unique"
        with pytest.raises(BackendError, match=r"cannot read model\.onnx: .*Unsupported operator Unique"):
            build.build_engine(trt, trt.Logger(), model.SerializeToString(), spec(version))
        with pytest.raises(BackendError, match=r"planned for 7\.1|types weakly"):
            build.build_engine(trt, trt.Logger(), doubling().SerializeToString(), spec(version, tensorrt="7.1"))
        trt.fake.builds_nothing = True
        with pytest.raises(BackendError, match=r"built no engine of model\.onnx"):
            build.build_engine(trt, trt.Logger(), doubling().SerializeToString(), spec(version))


BUILD_CHECKS = (build_an_engine, build_an_open_batch, build_for_the_dla, build_what_cannot_be)
