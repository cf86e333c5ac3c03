"""Every name of TensorRT that the code uses exists in every version of the table, or stands behind a guard that is listed here."""

import ast
import json
from pathlib import Path

import pytest

TABLE = json.loads((Path(__file__).parent.parent / "fake_tensorrt/names.json").read_text(encoding="utf-8"))
NAMES: dict[str, list[str]] = TABLE["names"]
FILES = ("tensorrt/build.py", "tensorrt/runner.py", "tensorrt/allocator.py", "backends/trt.py")
# What a variable (or the attribute _variable) of these files is, in TensorRT's own words.
OWNERS = {
    "builder": "Builder", "network": "INetworkDefinition", "parser": "OnnxParser", "error": "ParserError",
    "config": "IBuilderConfig", "profile": "IOptimizationProfile", "runtime": "Runtime", "engine": "ICudaEngine",
    "context": "IExecutionContext", "inspector": "EngineInspector", "tensor": "ITensor",
}  # fmt: skip
# What is no engine, parser ... of TensorRT, although it is called so: of another file, or the project's own.
NOT_TENSORRT = {("backends/trt.py", "engine")}
# Names that some version lacks, with the words of the code that ask for them only where they are.
GUARDED = {
    "ParserError.node_name": 'hasattr(error, "node_name")',
    "ParserError.node_operator": 'hasattr(error, "node_name")',
    "IProgressMonitor": 'hasattr(trt, "IProgressMonitor")',
    "IBuilderConfig.progress_monitor": 'hasattr(trt, "IProgressMonitor")',
}


def used(source: str, name: str) -> set[str]:
    """The names of TensorRT in a file's source, as the table writes them."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Attribute):
            continue
        words = _words(node)
        if "trt" in words[:-1] or (words[:2] == ["self", "_trt"] and len(words) > 2):
            rest = words[words.index("trt") + 1 :] if "trt" in words else words[2:]
            found.add(".".join(rest[:2]))
        owner = words[-2].lstrip("_") if len(words) > 1 else ""
        if owner in OWNERS and (name, owner) not in NOT_TENSORRT:
            found.add(f"{OWNERS[owner]}.{words[-1]}")
    return {one for one in found if "__" not in one}


def _words(node: ast.expr) -> list[str]:
    words: list[str] = []
    while isinstance(node, ast.Attribute):
        words.insert(0, node.attr)
        node = node.value
    return [node.id, *words] if isinstance(node, ast.Name) else words


def missing(source: str, name: str) -> set[str]:
    """The names that are not in every version and stand behind no guard."""
    return {
        one
        for one in used(source, name)
        if set(NAMES.get(one, ())) != set(TABLE["versions"]) and GUARDED.get(one, "nowhere") not in source
    }


@pytest.mark.parametrize("name", FILES)
def test_every_name_is_in_every_version_or_behind_a_guard(checkout: Path, name: str) -> None:
    source = (checkout / "runtime" / name).read_text(encoding="utf-8")
    assert used(source, name)
    assert missing(source, name) == set()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("config.set_flag(trt.BuilderFlag.FP16)", "BuilderFlag.FP16"),
        ("trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH", "NetworkDefinitionCreationFlag.EXPLICIT_BATCH"),
        ("self._engine.get_binding_index('x')", "ICudaEngine.get_binding_index"),
        ("context.execute_async_v2([], 0)", "IExecutionContext.execute_async_v2"),
        ("config.max_workspace_size = 1", "IBuilderConfig.max_workspace_size"),
        ("error.node_name()", "ParserError.node_name"),
        ("self._trt.IInt8Calibrator", "IInt8Calibrator"),
    ],
)
def test_a_name_that_a_version_lacks_is_found(code: str, said: str) -> None:
    assert missing(code, "x.py") == {said}


def test_flags_that_a_version_lacks_are_planned_for_others_alone() -> None:
    """Plans name flags in words, which no scan of the builder sees."""
    from edgewright.runtime.tensorrt.plan import _flags, _network_flags
    from edgewright.runtime.tensorrt.targets import Target

    for version in TABLE["versions"]:
        numbers = tuple(int(part) for part in version.split("."))
        target = Target("any", numbers, 17)
        for precision in ("fp32", "fp16", "int8"):
            for flag in _flags(target, precision, 0):
                assert version in NAMES[f"BuilderFlag.{flag}"], (version, flag)
        for flag in _network_flags(target):
            assert version in NAMES[f"NetworkDefinitionCreationFlag.{flag}"], (version, flag)
