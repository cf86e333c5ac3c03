"""export, inspect, verify and list as a user types them: results, exit statuses, one sentence for every mistake."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.tiny import LABELS, save_blue_blob_yolox, tiny_bundle

from edgewright.pipeline.cli import main
from edgewright.runtime.bundle import BackendParity, Parity, PoolingDecisions, content_digest, load_bundle, seal


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("whole")).path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    return save_blue_blob_yolox(tmp_path / "blob.onnx")


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr; nothing may stand on stdout."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_export_makes_a_bundle_that_verifies_on_every_backend(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "bundle"
    assert run("export", source, "--family", "yolox", "--labels", tmp_path / "labels.txt", "-o", bundle) == 0
    assert "3 labels" in capsys.readouterr().out
    for backend in ("ort", "ov"):
        assert run("verify", bundle, "--backend", backend, "--threads", 1) == 0
        assert f"VERIFIED on {backend}" in capsys.readouterr().out


def test_a_recipe_says_the_same_as_the_options(source: Path, tmp_path: Path) -> None:
    (tmp_path / "blob.yaml").write_text("source: blob.onnx\nfamily: yolox\nlabels: labels.txt\nconf_threshold: 0.4\n")
    assert run("export", tmp_path / "blob.yaml", "-o", tmp_path / "a") == 0
    assert run("export", source, "--family", "yolox", "--labels", tmp_path / "labels.txt", "-o", tmp_path / "b") == 0
    a, b = load_bundle(tmp_path / "a"), load_bundle(tmp_path / "b")
    assert a.spec.postprocess.conf_threshold == 0.4
    assert a.spec.preprocess == b.spec.preprocess
    assert a.files[0].sha256 == b.files[0].sha256


def test_options_come_before_the_recipe(source: Path, tmp_path: Path) -> None:
    (tmp_path / "blob.yaml").write_text("source: blob.onnx\nfamily: yolox\nlabels: labels.txt\nname: recipe\n")
    assert run("export", tmp_path / "blob.yaml", "--name", "option", "-o", tmp_path / "a") == 0
    assert load_bundle(tmp_path / "a").spec.name == "option"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("familly: yolox", "there is no key 'familly' (did you mean 'family'?)"),
        ("size: 64", "'size'"),
        ("color: purple", "'color'"),
        ("conf_threshold: 1.5", "'conf_threshold'"),
        ("source: other.onnx", "given twice"),
        ("labels: [", "not valid YAML"),
    ],
)
def test_a_wrong_recipe_names_line_and_key(
    line: str, said: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "blob.yaml").write_text(f"source: {source.name}\n{line}\n")
    assert run("export", tmp_path / "blob.yaml", "-o", tmp_path / "bundle") == 2
    assert said in error_of(capsys)
    assert not (tmp_path / "bundle").exists()


def test_an_existing_bundle_is_replaced_only_with_force(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", source, "--family", "yolox", "--labels", tmp_path / "labels.txt", "-o", tmp_path / "bundle"]
    assert run(*words) == 0
    capsys.readouterr()
    assert run(*words) == 2
    assert "exists already" in error_of(capsys)
    assert run(*words, "--force") == 0


def test_a_failed_export_leaves_nothing(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(tmp_path.iterdir())
    assert run("export", source, "--family", "yolov8", "--labels", "coco80", "-o", tmp_path / "bundle") == 2
    assert "family ultralytics" in error_of(capsys)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["export", "nowhere.onnx", "--family", "yolox", "--labels", "coco80", "-o", "b"],
            "there is no file nowhere.onnx",
        ),
        (["export", "nowhere.yaml", "-o", "b"], "there is no file nowhere.yaml"),
        (["export", "model.onnx"], "missing option '-o' / '--output'"),
        (["evalute", "b"], "there is no verb 'evalute' (did you mean 'evaluate'?)"),
        (["inspect", "nowhere"], "there is no bundle at nowhere"),
        (["verify", "nowhere"], "there is no bundle at nowhere"),
        (["verify"], "missing argument 'BUNDLE'"),
    ],
)
def test_misuse_is_one_sentence_and_exit_2(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    assert said in error_of(capsys)
    assert list(tmp_path.iterdir()) == []


def test_inspect_shows_what_a_reader_asks_first(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("inspect", whole, "--json", tmp_path / "manifest.json") == 0
    out = capsys.readouterr().out
    for shown in (
        "detect, head dense",
        "bolt, nut, washer",
        "letterbox_top_left to 64x64",
        "BGR",
        "model.onnx",
        "opset 17",
    ):
        assert shown in out
    assert json.loads((tmp_path / "manifest.json").read_text()) == json.loads((whole / "manifest.json").read_text())


def test_inspect_shows_the_proven_parity_of_every_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tiny_bundle(tmp_path)
    proven = BackendParity(
        backend="ort", engine_version="1.2", tensors={"boxes": 2e-6, "scores": 3e-4}, detections=7, matched=6,
        decisions=PoolingDecisions(windows=500, otherwise=3, shortfall=2e-7),
    )  # fmt: skip
    missing = BackendParity(backend="ov", problem="the package 'openvino' is not installed")
    parity = Parity(reference="torch", images=("blank",), backends=(proven, missing))
    seal(bundle.path, bundle.manifest.model_copy(update={"parity": parity}))
    assert run("inspect", bundle.path) == 0
    out = capsys.readouterr().out
    assert "ort 1.2: largest error 0.0003 (scores), 6 of 7 detections" in out
    assert "the reference followed 500 decisions of max-pooling, of which it makes 3 otherwise (by 2e-07)" in out
    assert "ov: not proven: the package 'openvino' is not installed" in out


def test_verify_tells_a_damaged_bundle_from_one_that_computes_otherwise(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Path(shutil.copytree(whole, tmp_path / "bundle"))
    tensors = dict(np.load(bundle / "golden/tensors.npz"))
    tensors["output:scores"] = tensors["output:scores"] + np.float32(0.1)
    np.savez_compressed(bundle / "golden/tensors.npz", allow_pickle=False, **tensors)
    assert run("verify", bundle) == 2
    assert "golden/tensors.npz" in error_of(capsys)
    reseal(bundle)
    assert run("verify", bundle, "--json", tmp_path / "verdict.json") == 1
    out = capsys.readouterr().out
    assert "output:scores: DIFFERS" in out
    assert "output:boxes: agrees" in out
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert verdict["passed"] is False
    assert [t["tensor"] for t in verdict["tensors"] if not t["passed"]] == ["output:scores"]


def test_verify_notices_pre_processing_that_changed(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Path(shutil.copytree(whole, tmp_path / "bundle"))
    path = bundle / "manifest.json"
    content = json.loads(path.read_text())
    content["spec"]["preprocess"]["color"] = "rgb"
    content["digest"] = content_digest(content)
    path.write_text(json.dumps(content))
    assert run("verify", bundle) == 1
    assert "input:images: DIFFERS" in capsys.readouterr().out


def test_list_shows_every_adapter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--json", tmp_path / "list.json") == 0
    out = capsys.readouterr().out
    for name in ("yolox", "ultralytics", "ort", "ov", "dense", "hard", "synthetic", "jsonl", "coco"):
        assert f"  {name} " in out
    listed = json.loads((tmp_path / "list.json").read_text())
    assert {entry["name"] for entry in listed["backends"] if entry["available"]} >= {"ort", "ov"}


def reseal(bundle: Path) -> None:
    """Make the manifest agree with the files again, as a forger or a careless script would."""
    from edgewright.runtime.bundle import file_sha256

    path = bundle / "manifest.json"
    content = json.loads(path.read_text())
    for entry in content["files"]:
        entry["sha256"], entry["size"] = file_sha256(bundle / entry["name"]), (bundle / entry["name"]).stat().st_size
    content["digest"] = content_digest(content)
    path.write_text(json.dumps(content))


def test_two_outputs_never_go_to_one_file(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = tmp_path / "same.json"
    source = ("--source", "synthetic:1:2")
    for words in (
        ("evaluate", whole, "--data", "synthetic:1:2", "--json", same, "--detections", same),
        ("run", whole, *source, "--sink", f"jsonl:{same}", "--json", same),
        ("run", whole, *source, "--sink", f"jsonl:{same}", "--sink", f"jsonl:{same}"),
        ("run", whole, *source, "--sink", f"jsonl:{same}", "--sink", f"video:{same}?fps=5"),
    ):
        assert run(*words) == 2
        assert "both go to" in error_of(capsys)
    assert not same.exists()


def test_values_that_make_no_sense_are_one_sentence(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("export", source, "--family", "yolox", "--labels", tmp_path / "labels.txt", "-o", tmp_path / "bundle")
    for option in (("--scale", 0), ("--std", "0,1,1"), ("--mean", "1,2")):
        assert run(*words, *option) == 2
        assert "pre- or post-processing does not fit" in error_of(capsys)


def test_an_alias_is_suggested_for_a_family(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", source, "--family", "yolo8", "--labels", "coco80", "-o", tmp_path / "bundle") == 2
    assert "did you mean 'yolov8'?" in error_of(capsys)


@pytest.mark.parametrize("words", [("inspect", "BUNDLE"), ("--help",)])
def test_a_reader_that_goes_away_is_not_a_failed_gate(whole: Path, words: tuple[str, ...]) -> None:
    arguments = [str(whole) if word == "BUNDLE" else word for word in words]
    command = [sys.executable, "-m", "edgewright.pipeline.cli", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        error = process.stderr.read()
        assert process.wait(timeout=120) == 141
    assert error == b""


def test_a_cancelled_job_leaves_no_temporary_files(whole: Path, tmp_path: Path) -> None:
    words = ("benchmark", whole, "--seconds", 60, "--json", tmp_path / "report.json")
    command = [sys.executable, "-m", "edgewright.pipeline.cli", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not (started := list(tmp_path.glob(".report*"))) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.terminate()
        assert process.wait(timeout=60) == 143
    assert started
    assert list(tmp_path.iterdir()) == []
