"""Integer arithmetic on processors without VNNI, which OpenVINO imitates when told to use no newer instructions."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.calibration.graphs import Builder, images, run

from edgewright.calibration.isa import sums_exactly
from edgewright.calibration.network import prepared
from edgewright.calibration.observe import observe
from edgewright.calibration.plan import Plan, quantized, sites_of

_RUN = """
import json, sys
import numpy as np, openvino
core = openvino.Core()
x = np.load(sys.argv[1])
found = {}
for name in sys.argv[2:]:
    model = core.compile_model(name, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found[name] = np.asarray(model({0: x})[0]).tolist()
print(json.dumps(found))
"""


def wide_network() -> onnx.ModelProto:
    """Many inputs to every sum, all positive behind a ReLU: pairs of products then exceed 16 bits."""
    net = Builder(3)
    tensor = net.add("Relu", [net.conv("images", (3, 64), "stem")], "stem_act")
    for name in ("a", "b", "c"):
        tensor = net.add("Relu", [net.conv(tensor, (64, 64), name)], f"{name}_act")
    net.conv(tensor, (64, 16), "output")
    return net.model({"output": (1, 16, 16, 16)})


@pytest.mark.skipif(not sums_exactly(), reason="this processor has no VNNI itself, so there is nothing to compare with")
def test_seven_bits_are_right_without_vnni_where_eight_overflow(tmp_path: Path) -> None:
    network = prepared(wide_network())
    seen = observe(
        network.model, sites_of(Plan(), network).tensors, [partial(dict, images=image) for image in images(4)]
    )
    image = images(1)[0]
    np.save(tmp_path / "x.npy", image)
    errors = {}
    for bits in (7, 8):
        model = quantized(Plan(collector="minmax", weight_bits=bits), network, seen, activation="uint8")
        path = tmp_path / f"{bits}.onnx"
        onnx.save(model, str(path))
        wanted = run(model, image, faithful=True)["output"]
        found = subprocess.run(
            [sys.executable, "-c", _RUN, str(tmp_path / "x.npy"), str(path)],
            env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
            capture_output=True,
            text=True,
            check=True,
        )
        got = np.array(json.loads(found.stdout.splitlines()[-1])[str(path)], np.float32)
        errors[bits] = float(np.abs(got - wanted).mean() / np.abs(wanted).mean())
    assert errors[7] < 0.02
    assert errors[8] > 3 * errors[7]


@pytest.mark.parametrize(
    ("flags", "cap", "exact"),
    [
        ("flags\t\t: avx2 avx512f avx512_vnni", "", True),
        ("flags\t\t: avx2 avx_vnni", "", True),
        ("flags\t\t: avx2 avx512f avx512bw", "", False),
        ("Features\t: fp asimd asimddp", "", True),
        ("flags\t\t: avx2 avx512f avx512_vnni", "AVX2", False),
        ("flags\t\t: avx2 avx512f avx512_vnni", "AVX512_CORE", False),
        ("flags\t\t: avx2 avx512f avx512_vnni", "AVX512_CORE_VNNI", True),
        ("flags\t\t: avx2 avx512f avx512_vnni amx_int8", "AVX512_CORE_AMX", True),
    ],
)
def test_exact_sums_follow_from_the_processor_and_what_it_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, cap: str, exact: bool
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(f"processor\t: 0\n{flags}\n")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", cap)
    assert sums_exactly(tmp_path) is exact
