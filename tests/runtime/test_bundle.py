"""Every way in which a bundle can be damaged has its own sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import LABELS, tiny_bundle

from edgewright.runtime.bundle import FORMAT, Bundle, content_digest, load_bundle
from edgewright.runtime.errors import BundleError, UsageError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("whole")).path


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


def edit(bundle: Path, change: Callable[[dict[str, Any]], None], *, reseal: bool) -> None:
    path = bundle / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    if reseal:
        content["digest"] = content_digest(content)
    path.write_text(json.dumps(content))


def test_a_whole_bundle_loads_with_its_specification(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    assert loaded.spec.labels == LABELS
    assert loaded.spec.head.kind == "dense"
    assert [file.name for file in loaded.files] == ["model.onnx", "golden/image.png", "golden/tensors.npz"]
    assert loaded.manifest.provenance.family == "yolox"
    assert len(loaded.digest) == 64


def test_a_copied_bundle_has_the_same_digest(whole: Path, bundle: Path) -> None:
    assert load_bundle(whole).digest == load_bundle(bundle).digest


def test_the_same_export_twice_gives_the_same_digest(whole: Path, tmp_path: Path) -> None:
    assert tiny_bundle(tmp_path).digest == load_bundle(whole).digest


def test_a_truncated_file_is_named(bundle: Path) -> None:
    model = bundle / "model.onnx"
    model.write_bytes(model.read_bytes()[:100])
    with pytest.raises(BundleError, match=r"model\.onnx is truncated: 100 bytes of"):
        load_bundle(bundle)


def test_a_changed_file_is_named_with_both_digests(bundle: Path) -> None:
    model = bundle / "model.onnx"
    content = bytearray(model.read_bytes())
    content[50] ^= 1
    model.write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.onnx: sha256 is \w+…, the manifest says \w+…"):
        load_bundle(bundle)


def test_a_longer_file_is_a_changed_file(bundle: Path) -> None:
    with (bundle / "model.onnx").open("ab") as handle:
        handle.write(b"more")
    with pytest.raises(BundleError, match="sha256 is"):
        load_bundle(bundle)


def test_a_missing_file_is_named(bundle: Path) -> None:
    (bundle / "golden/image.png").unlink()
    with pytest.raises(BundleError, match=r"golden/image\.png is missing"):
        load_bundle(bundle)


def test_an_edited_manifest_is_refused(bundle: Path) -> None:
    edit(bundle, lambda content: content["spec"].update(labels=["nut", "bolt", "washer"]), reseal=False)
    with pytest.raises(BundleError, match="was edited after"):
        load_bundle(bundle)


def test_a_truncated_manifest_is_refused(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text(path.read_text()[:300])
    with pytest.raises(BundleError, match="truncated or damaged"):
        load_bundle(bundle)


def test_a_newer_format_asks_for_an_update(bundle: Path) -> None:
    edit(bundle, lambda content: content.update(format=FORMAT + 1, something_new=1), reseal=True)
    with pytest.raises(BundleError, match=f"format {FORMAT + 1}, this edgewright reads up to {FORMAT}; update"):
        load_bundle(bundle)


def test_a_missing_key_is_named(bundle: Path) -> None:
    edit(bundle, lambda content: content["spec"].pop("labels"), reseal=True)
    with pytest.raises(BundleError, match=r"spec\.labels: Field required"):
        load_bundle(bundle)


@pytest.mark.parametrize("content", ["[]", "3", '"text"'])
def test_a_manifest_that_is_no_object_is_refused(bundle: Path, content: str) -> None:
    (bundle / "manifest.json").write_text(content)
    with pytest.raises(BundleError, match="instead of an object"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", ["../outside.bin", "/etc/hostname"])
def test_a_file_outside_the_bundle_is_refused(bundle: Path, name: str) -> None:
    (bundle.parent / "outside.bin").write_bytes(b"x")
    edit(bundle, lambda content: content["files"][0].update(name=name), reseal=True)
    with pytest.raises(BundleError, match="outside the bundle"):
        load_bundle(bundle)


def test_a_link_out_of_the_bundle_is_refused(bundle: Path, whole: Path) -> None:
    (bundle / "model.onnx").unlink()
    (bundle / "model.onnx").symlink_to(whole / "model.onnx")
    with pytest.raises(BundleError, match="outside the bundle"):
        load_bundle(bundle)


def test_an_older_manifest_without_a_newer_optional_key_still_loads(bundle: Path) -> None:
    edit(bundle, lambda content: content["spec"]["preprocess"].pop("rounding"), reseal=True)
    assert load_bundle(bundle).spec.preprocess.rounding == "nearest"


def test_no_folder_a_file_and_an_empty_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there is no bundle at"):
        load_bundle(tmp_path / "nowhere")
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match="is a file, a bundle is a folder"):
        load_bundle(tmp_path / "model.onnx")
    with pytest.raises(BundleError, match=r"has no manifest\.json"):
        load_bundle(tmp_path)


def test_a_precision_that_is_not_there_lists_what_is(bundle: Path) -> None:
    with pytest.raises(UsageError, match="holds no int8 model for backend 'ov' \\(it holds: fp32 for any\\)"):
        load_bundle(bundle).model_file(backend="ov", precision="int8")


def test_a_model_made_for_the_backend_comes_before_a_portable_one(bundle: Path) -> None:
    special = {"role": "model", "precision": "fp32", "target": "ov"}
    edit(bundle, lambda content: content["files"].append({**content["files"][0], **special}), reseal=True)
    loaded = load_bundle(bundle)
    assert loaded.model_file(backend="ov", precision="fp32").target == "ov"
    assert loaded.model_file(backend="ort", precision="fp32").target == "any"


def test_tensorrt_is_compared_with_onnx_runtime_where_it_has_no_golden_tensors_of_its_own(tmp_path: Path) -> None:
    made = tiny_bundle(tmp_path)
    assert made.manifest.golden is not None
    lower = made.manifest.golden.model_copy(update={"precision": "int8", "backend": "ort"})
    bundle = Bundle(made.path, made.manifest.model_copy(update={"lower_goldens": (lower,)}))
    assert bundle.golden(backend="trt", precision="int8") == lower
    with pytest.raises(BundleError, match="no golden tensors for int8 on backend 'ov'"):
        bundle.golden(backend="ov", precision="int8")
    own = lower.model_copy(update={"backend": "trt"})
    both = Bundle(made.path, made.manifest.model_copy(update={"lower_goldens": (lower, own)}))
    assert both.golden(backend="trt", precision="int8") == own
