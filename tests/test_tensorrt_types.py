"""scripts/check compares what drives TensorRT with the types of NVIDIA's bindings; here, that it finds what is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = """
from edgewright.runtime.tensorrt.interface import TensorRt


def shapes(trt: TensorRt) -> None:
    builder = trt.Builder(None)
    network = builder.create_network(0)
    {line}
"""
WRONG = {
    "a method that does not exist": "network.get_output_tensor(0)",
    "an argument of the wrong type": "builder.create_network('EXPLICIT_BATCH')",
    "a name that the module lacks": "trt.BuilderFlag.FP15",
    "a name that is not used elsewhere": "trt.Refitter",
}


def test_pyright_finds_what_the_bindings_do_not_have(tmp_path: Path, checkout: Path) -> None:
    stubs = checkout / ".cache/stubs"
    if not (stubs / "tensorrt").is_dir():
        pytest.skip("the stubs of TensorRT are not there; scripts/setup dev puts them into .cache/stubs")
    (tmp_path / "right.py").write_text(SOURCE.format(line="network.get_input(0)"))
    for number, line in enumerate(WRONG.values()):
        (tmp_path / f"wrong{number}.py").write_text(SOURCE.format(line=line))
    places = {"include": ["."], "extraPaths": [str(checkout / "src"), str(stubs)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({**places, "reportMissingModuleSource": False}))
    words = [sys.executable, "-m", "pyright", "-p", str(tmp_path), "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found = [one for one in json.loads(done.stdout)["generalDiagnostics"] if one["severity"] == "error"]
    last = {Path(one["file"]).stem for one in found if one["range"]["start"]["line"] == 7}
    assert last == {f"wrong{number}" for number in range(len(WRONG))}
    # Nothing but the argument None, which stands for a logger.
    assert {(one["range"]["start"]["line"]) for one in found} == {5, 7}
