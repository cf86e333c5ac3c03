"""The chain of a recipe: stages run once, say why, and survive an interruption."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from tests.tiny import LABELS, save_blue_blob_yolox

from edgewright.pipeline.build import build
from edgewright.pipeline.recipe import Recipe, load_recipe
from edgewright.pipeline.stages import Outcome, run_stage
from edgewright.runtime.errors import ExportError, UsageError


def recipe(folder: Path, **changes: Any) -> Recipe:
    source = save_blue_blob_yolox(folder / "blob.onnx")
    labels = folder / "labels.txt"
    labels.write_text("\n".join(LABELS))
    values = {
        "source": str(source),
        "family": "yolox",
        "labels": str(labels),
        "backends": ("ort",),
        "benchmark_seconds": 0,
    }
    return Recipe.model_validate({**values, **changes})


def outcomes(of: Recipe, folder: Path) -> dict[str, Outcome]:
    heard: list[Outcome] = []
    build(of, folder, tell=heard.append)
    return {outcome.stage: outcome for outcome in heard}


def test_a_second_build_reuses_every_stage(tmp_path: Path) -> None:
    chain = recipe(tmp_path, benchmark_seconds=0.1)
    first = outcomes(chain, tmp_path / "out")
    assert list(first) == ["export", "verify-ort", "benchmark-ort"]
    assert all(outcome.ran and outcome.reason == "it has not run yet" for outcome in first.values())
    again = outcomes(chain, tmp_path / "out")
    assert not any(outcome.ran for outcome in again.values())


def test_a_changed_setting_runs_what_depends_on_it_and_says_so(tmp_path: Path) -> None:
    outcomes(recipe(tmp_path, threads=1), tmp_path / "out")
    again = outcomes(recipe(tmp_path, threads=2), tmp_path / "out")
    assert not again["export"].ran
    assert again["verify-ort"] == Outcome("verify-ort", True, "changed: threads (1 → 2)")


def test_a_changed_export_runs_everything_behind_it(tmp_path: Path) -> None:
    outcomes(recipe(tmp_path), tmp_path / "out")
    again = outcomes(recipe(tmp_path, color="rgb"), tmp_path / "out")
    assert again["export"].reason == "changed: color (null → rgb)"
    assert all(outcome.ran for outcome in again.values())


def test_a_changed_label_file_is_noticed(tmp_path: Path) -> None:
    outcomes(recipe(tmp_path), tmp_path / "out")
    changed = recipe(tmp_path)
    (tmp_path / "labels.txt").write_text("a\nb\nc")
    assert outcomes(changed, tmp_path / "out")["export"].reason == "changed: labels content"


def test_a_damaged_output_is_made_again(tmp_path: Path) -> None:
    outcomes(recipe(tmp_path), tmp_path / "out")
    (tmp_path / "out/bundle/model.onnx").write_bytes(b"")
    assert outcomes(recipe(tmp_path), tmp_path / "out")["export"] == Outcome("export", True, "bundle was changed")


def test_an_interrupted_stage_runs_again_and_leaves_no_half_file(tmp_path: Path) -> None:
    target = tmp_path / "result.json"

    def interrupted() -> None:
        raise KeyboardInterrupt

    def whole() -> None:
        target.write_text("{}")

    with pytest.raises(KeyboardInterrupt):
        run_stage(tmp_path / "stages", "stage", {"a": 1}, [target], interrupted)
    assert list(tmp_path.iterdir()) == []
    assert run_stage(tmp_path / "stages", "stage", {"a": 1}, [target], whole).ran
    assert not run_stage(tmp_path / "stages", "stage", {"a": 1}, [target], whole).ran


def test_a_stage_that_is_interrupted_after_a_change_is_not_taken_for_done(tmp_path: Path) -> None:
    target = tmp_path / "result.json"

    def write(text: str) -> None:
        target.write_text(text)
        if text == "half":
            raise KeyboardInterrupt

    run_stage(tmp_path / "stages", "stage", {"a": 1}, [target], lambda: write("one"))
    with pytest.raises(KeyboardInterrupt):
        run_stage(tmp_path / "stages", "stage", {"a": 2}, [target], lambda: write("half"))
    assert run_stage(tmp_path / "stages", "stage", {"a": 1}, [target], lambda: write("one")).ran


def test_a_damaged_record_runs_the_stage_again(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    for content in ("not json", "[]", '{"inputs": 3, "outputs": {}}'):
        run_stage(tmp_path / "stages", "stage", {}, [target], target.touch)
        (tmp_path / "stages/stage.json").write_text(content)
        outcome = run_stage(tmp_path / "stages", "stage", {}, [target], lambda: None)
        assert outcome == Outcome("stage", True, "its record cannot be read")


def test_relative_policies_need_a_baseline_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="compares with a baseline but the recipe names none"):
        build(recipe(tmp_path, policy="default"), tmp_path / "out")
    with pytest.raises(UsageError, match="baseline but no policy"):
        build(recipe(tmp_path, baseline="b.json"), tmp_path / "out")
    with pytest.raises(UsageError, match="a policy but measures nothing"):
        build(recipe(tmp_path, policy="accuracy", baseline="b.json"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_absolute_policy_judges_without_a_baseline(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("budgets: {model_size: 0.000001}\n")
    built = build(recipe(tmp_path, policy=str(policy), benchmark_seconds=0.1), tmp_path / "out")
    assert not built.passed
    assert json.loads((tmp_path / "out/verdicts/ort.json").read_text())["passed"] is False
    assert (tmp_path / "out/verdicts/ort.md").is_file()
    assert (tmp_path / "out/verdicts/ort.xml").is_file()


def test_files_of_a_recipe_are_found_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    save_blue_blob_yolox(folder / "blob.onnx")
    (folder / "r.yaml").write_text("source: blob.onnx\nfamily: yolox\nlabels: coco80\ndata: coco:images:labels.json\n")
    (folder / "images").mkdir()
    loaded = load_recipe(folder / "r.yaml")
    assert loaded.source == str(folder / "blob.onnx")
    assert loaded.labels == "coco80"
    assert loaded.data == f"coco:{folder / 'images'}:labels.json"


def test_verdicts_of_an_earlier_build_do_not_outlive_a_failure(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("budgets: {model_size: 1000}\n")
    assert build(recipe(tmp_path, policy=str(policy), benchmark_seconds=0.1), tmp_path / "out").passed
    with pytest.raises(ExportError, match="family fastestdet"):
        build(recipe(tmp_path, policy=str(policy), benchmark_seconds=0.1, family="fastestdet"), tmp_path / "out")
    assert list((tmp_path / "out/verdicts").iterdir()) == []
    assert not (tmp_path / "out/reports/ort.json").exists()


def test_a_file_in_the_place_of_the_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="is a file; give a folder"):
        build(recipe(tmp_path), tmp_path / "out")


def test_changed_external_weights_are_noticed(tmp_path: Path) -> None:
    chain = recipe(tmp_path)
    model = onnx.load(chain.source)
    onnx.save(model, chain.source, save_as_external_data=True, location="weights.bin", size_threshold=0)
    outcomes(chain, tmp_path / "out")
    weights = bytearray((tmp_path / "weights.bin").read_bytes())
    weights[1] ^= 0x40
    (tmp_path / "weights.bin").write_bytes(weights)
    assert outcomes(chain, tmp_path / "out")["export"].reason == "changed: source content"


def test_a_folder_named_like_the_kind_of_data_does_not_confuse_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "coco/val").mkdir(parents=True)
    (tmp_path / "7").mkdir()
    (tmp_path / "coco80").touch()
    for data, wanted in (
        ("coco:coco/val:coco/ann.json", f"coco:{tmp_path}/coco/val:coco/ann.json"),
        ("synthetic:7:100", "synthetic:7:100"),
    ):
        (tmp_path / "r.yaml").write_text(f'source: blob.onnx\nlabels: coco80\ndata: "{data}"\n')
        loaded = load_recipe(tmp_path / "r.yaml")
        assert (loaded.data, loaded.labels) == (wanted, "coco80")
