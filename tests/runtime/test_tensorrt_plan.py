from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import tiny_bundle

from edgewright.runtime.bundle import Bundle, BundleFile
from edgewright.runtime.errors import UsageError
from edgewright.runtime.tensorrt.on_device import batch_range
from edgewright.runtime.tensorrt.plan import BuildSpec, plan_build
from edgewright.runtime.tensorrt.targets import DLAS, find_target, opset_of, targets


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return with_trt_files(tiny_bundle(tmp_path_factory.mktemp("tiny")))


def with_trt_files(bundle: Bundle) -> Bundle:
    def file(name: str, precision: Any, dialect: Any) -> BundleFile:
        return BundleFile(
            name=name, role="model", sha256="0" * 64, size=1, precision=precision, target="trt", dialect=dialect
        )

    added = (
        file("tensorrt/int8_weak.onnx", "int8", "weak"),
        file("tensorrt/int8_strong.onnx", "int8", "strong"),
        file("tensorrt/fp16.onnx", "fp16", "strong"),
    )
    manifest = bundle.manifest.model_copy(update={"files": (*bundle.files, *added)})
    return replace(bundle, manifest=manifest)


@pytest.mark.parametrize(
    ("target", "precision", "model", "flags", "network_flags"),
    [
        # Version 8 wants the batch explicit; 10 ignores that flag and 11 has it no more.
        ("jetpack5.1", "fp32", "model.onnx", (), ("EXPLICIT_BATCH",)),
        ("jetpack5.1", "int8", "tensorrt/int8_weak.onnx", ("FP16", "INT8"), ("EXPLICIT_BATCH",)),
        ("jetpack6.2", "fp16", "model.onnx", ("FP16",), ()),
        ("jetpack6.2", "int8", "tensorrt/int8_weak.onnx", ("FP16", "INT8"), ()),
        # From 10.12 on the types of the graph decide, and precision flags are illegal beside them.
        ("jetpack7.2", "int8", "tensorrt/int8_strong.onnx", (), ("STRONGLY_TYPED",)),
        ("trt11.4.1@sm89", "fp16", "tensorrt/fp16.onnx", (), ()),
    ],
)
def test_a_build_takes_the_graph_and_the_flags_of_its_version(
    bundle: Bundle, target: str, precision: Any, model: str, flags: tuple[str, ...], network_flags: tuple[str, ...]
) -> None:
    spec = plan_build(bundle, find_target(target), precision=precision)
    assert (spec.model, spec.flags, spec.network_flags) == (model, flags, network_flags)


@pytest.mark.parametrize("gib", [4, 8, 16, 64])
def test_a_jetson_gives_a_quarter_of_its_memory_at_most(bundle: Bundle, gib: int) -> None:
    spec = plan_build(bundle, find_target("jetpack6.2"), precision="fp32", memory_bytes=gib << 30)
    assert spec.workspace_bytes * 4 == gib << 30


def test_the_same_plan_has_the_same_digest_and_another_option_another(bundle: Bundle) -> None:
    target = find_target("jetpack6.2")
    first, again = (plan_build(bundle, target, precision="fp16") for _ in range(2))
    assert first.digest == again.digest
    assert plan_build(bundle, target, precision="fp16", optimization_level=5).digest != first.digest


def test_a_precision_that_the_bundle_lacks_says_how_to_make_it(tmp_path: Path) -> None:
    plain = tiny_bundle(tmp_path)
    with pytest.raises(
        UsageError, match=r"no int8 model for TensorRT's weak typing; make one with `edgewright quantize"
    ):
        plan_build(plain, find_target("jetpack6.2"), precision="int8")
    with pytest.raises(UsageError, match="no fp16 model for TensorRT's strong typing"):
        plan_build(plain, find_target("trt11.4.1"), precision="fp16")


def test_a_batch_range_that_falls_is_refused_before_tensorrt_accepts_it(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match=r"batch \(4, 2, 1\) is no range"):
        plan_build(bundle, find_target("jetpack6.2"), batch=(4, 2, 1))
    with pytest.raises(UsageError, match="has a fixed batch of 1; leave --batch out"):
        plan_build(bundle, find_target("jetpack6.2"), batch=(1, 2, 4))


@pytest.mark.parametrize(
    ("target", "core", "precision", "said"),
    [
        ("jetpack7.0", 0, "int8", "has no DLA"),
        # Said before the fp16 model that strong typing wants: quantizing for one would be in vain.
        ("jetpack7.0", 0, "fp16", "has no DLA"),
        ("jetpack7.2", 0, "fp16", "has no DLA"),
        ("trt10.8@sm87", 0, "fp16", "has no DLA"),
        ("trt10.3@sm86", 0, "fp16", "has no DLA"),
        ("trt11.4.1@sm110", 0, "fp16", "has no DLA"),
        ("jetpack6.2", 0, "fp32", "not compute in fp32"),
        # "Currently, DLA doesn't support QAT yet", NVIDIA/TensorRT issue 2222; Model-Optimizer pull request 1661.
        ("jetpack6.2", 0, "int8", "takes no Q/DQ layers"),
        ("jetpack6.2", 2, "fp16", "no DLA core 2"),
    ],
)
def test_a_dla_that_is_not_there_is_refused(bundle: Bundle, target: str, core: int, precision: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plan_build(bundle, find_target(target), precision=precision, dla_core=core)


def test_a_dla_falls_back_to_the_gpu(bundle: Bundle) -> None:
    for target in ("jetpack5.1", "jetpack6.2", "trt10.7@sm87", "trt10.3@sm72"):
        assert "GPU_FALLBACK" in plan_build(bundle, find_target(target), precision="fp16", dla_core=1).flags
    # TensorRT 11.4.1 has it back on AGX Orin, typed by the graph: no flag of a precision.
    spec = plan_build(bundle, find_target("trt11.4.1@sm87"), precision="int8", dla_core=0)
    assert spec.flags == ("GPU_FALLBACK",)
    assert spec.model == "tensorrt/int8_strong.onnx"
    assert all(dla.source for dla in DLAS)


def test_a_dla_runs_one_size_of_batch(bundle: Bundle) -> None:
    inputs = tuple(tensor.model_copy(update={"shape": ("N", *tensor.shape[1:])}) for tensor in bundle.spec.inputs)
    manifest = bundle.manifest.model_copy(update={"spec": bundle.spec.model_copy(update={"inputs": inputs})})
    several = replace(bundle, manifest=manifest)
    with pytest.raises(UsageError, match="not of 1 to 8"):
        plan_build(several, find_target("jetpack6.2"), dla_core=0, batch=(1, 1, 8))
    for batch, wanted in ((None, (1, 1, 1)), (4, (4, 4, 4))):
        sizes = batch_range(several, batch)
        assert plan_build(several, find_target("jetpack6.2"), dla_core=0, batch=sizes).batch == wanted
    assert batch_range(bundle, None) is None
    with pytest.raises(
        UsageError, match="has a fixed batch of 1; leave --batch out, or open it with `edgewright batch`"
    ):
        plan_build(bundle, find_target("jetpack6.2"), batch=batch_range(bundle, 4))


def test_levels_are_left_out_where_they_do_not_exist(bundle: Bundle) -> None:
    assert plan_build(bundle, find_target("jetpack5.1")).optimization_level is None
    assert plan_build(bundle, find_target("jetpack6.2")).optimization_level == 3


def test_engines_for_several_gpus_are_not_made_on_a_board(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="not made on a Jetson"):
        plan_build(bundle, find_target("jetpack6.2"), hardware_compatible=True)
    spec = plan_build(bundle, find_target("trt10.3@sm86"), hardware_compatible=True)
    assert spec.hardware_compatibility == "AMPERE_PLUS"


def test_jetpack_names_find_their_release() -> None:
    assert find_target("jetpack6").name == "jetpack6.2"
    assert find_target("jetpack6.2.1").name == "jetpack6.2"
    assert [t.dialect for t in targets() if t.tensorrt >= (10, 12)] == ["strong"] * 3


def test_operator_sets_follow_the_documented_releases() -> None:
    """onnx-tensorrt, docs/operators.md: 17 for 8.4 to 8.6, 20 from 10.0, 24 from 10.15."""
    assert [opset_of(version) for version in ((8, 5, 2), (8, 6, 2), (10, 3), (10, 15), (11, 4))] == [17, 17, 20, 24, 24]


def test_a_plan_survives_its_file(bundle: Bundle) -> None:
    spec = plan_build(bundle, find_target("jetpack6.2"), precision="int8")
    assert BuildSpec.model_validate_json(spec.model_dump_json()) == spec
