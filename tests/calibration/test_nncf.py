import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import openvino
import pytest
from tests.calibration.graphs import images, residual_network

from edgewright.calibration.network import prepared
from edgewright.calibration.nncf_ptq import quantize_by_nncf
from edgewright.calibration.observe import Feeds
from edgewright.calibration.plan import Plan
from edgewright.runtime.errors import CalibrationError

NETWORK, PLAN = prepared(residual_network()), Plan(method="nncf")
FEEDS: list[Callable[[], Feeds]] = [partial(dict, images=image) for image in images(4)]


def test_nncf_quantizes_the_layers_of_the_plan_and_no_others(tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="the optional package nncf is not installed")
    found = {}
    for plan in (PLAN, PLAN.model_copy(update={"float_layers": ("a", "b", "side", "body")})):
        path = tmp_path / f"{plan.digest}.xml"
        quantize_by_nncf(plan, NETWORK, FEEDS, path, folder=tmp_path)
        operations = openvino.Core().read_model(str(path)).get_ops()
        found[plan.float_layers] = sum(operation.get_type_name() == "FakeQuantize" for operation in operations)
    # Activations only: weights are stored as integers. One for the stem alone, none for the head.
    assert found[("a", "b", "side", "body")] == 1
    assert found[()] > 3


def test_without_nncf_the_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(CalibrationError, match=r"NNCF is not installed; run: pip install 'edgewright\[quantize\]'"):
        quantize_by_nncf(PLAN, NETWORK, FEEDS, tmp_path / "out.xml", folder=tmp_path)
