"""A bundle: a folder of plain files with a manifest that says what they are, where they come from and how to use them."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from edgewright.runtime.errors import BundleError, UsageError
from edgewright.runtime.spec import ModelSpec, Strict

FORMAT = 1
MANIFEST = "manifest.json"
# Backends that run the files of another.
_FILES_OF = {"dla0": "trt", "dla1": "trt"}
_MAX_MANIFEST_BYTES = 64 << 20

Precision = Literal["fp32", "fp16", "int8"]


class BundleFile(Strict):
    """One file: its path inside the bundle, what it is for, and its digest.

    `target` names the backend that may run it ("any" for a portable ONNX file); `graph` the part of a network of several
    graphs that it holds; `dialect` how a quantized graph for TensorRT is written: "weak" for 8.5 to 10.11, "strong" for later.
    """

    name: str
    role: Literal["model", "weights", "golden", "report", "labels", "recipe", "calibration"]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]
    graph: str = "main"
    precision: Precision | None = None
    target: str = "any"
    dialect: Literal["weak", "strong"] | None = None


class Provenance(Strict):
    """Where the network comes from and what made the bundle; no date, so that the same export gives the same digest."""

    source: str
    source_sha256: str | None = None
    family: str
    exporter: str
    opset: int | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    calibration_sha256: str | None = None


class Complexity(Strict):
    """Parameters, and GFLOPs of one image (1 multiply-add = 2 FLOPs); None where a shape is not static."""

    parameters: int
    gflops: float | None = None


class Tolerance(Strict):
    """How far golden outputs may be off on another machine: |got - expected| <= absolute + relative * |expected|,
    and the input tensor by `input_levels` grey levels (image resizing differs between builds of OpenCV)."""

    absolute: float = 1e-3
    relative: float = 1e-3
    input_levels: float = 1.0


class Golden(Strict):
    """One image, the input tensor made of it and the outputs of the reference run (`tensors`: an .npz file) by `backend` in
    `precision`."""

    image: str
    tensors: str
    backend: str
    precision: Precision = "fp32"
    tolerance: Tolerance = Tolerance()


class PoolingDecisions(Strict):
    """Windows in which the reference was told what value the graph took for the largest, because max-unpooling puts it back to
    its place there and rounding decides between almost equal values.

    `otherwise`: in how many the reference would have taken another one; `shortfall`: by how much the graph's value falls short
    at most, as a share of the largest value around.
    """

    windows: int
    otherwise: int
    shortfall: float


class BackendParity(Strict):
    """How closely a backend follows the network's own framework on the parity images.

    `tensors`: the largest |got - wanted| / max(1, |wanted|) of each output; where the graph itself chooses the rows, over the
    rows that a result is made of, in whatever order. `pixels`: of maps, the smallest share of pixels with the same class or in
    the same segment. `decisions`, where the reference followed those of the graph. `problem` is why the backend could not be compared.
    `file` is the model that was run, where there are several.
    """

    backend: str
    file: str | None = None
    engine_version: str | None = None
    tensors: dict[str, float] = Field(default_factory=dict)
    detections: int = 0
    matched: int = 0
    pixels: float | None = None
    decisions: PoolingDecisions | None = None
    problem: str | None = None


class Parity(Strict):
    """The comparison of the exported graph with the network it was made of, image by image (names of the images)."""

    reference: str
    images: tuple[str, ...]
    backends: tuple[BackendParity, ...]


class Manifest(Strict):
    """The typed content of manifest.json; `digest` covers everything else in it, and so every file. `lower_goldens` are those
    of models in lower precision, which give other numbers. `batch` is how closely the rows of a batch follow single images, of
    models whose batch is open."""

    format: int = FORMAT
    spec: ModelSpec
    files: tuple[BundleFile, ...]
    provenance: Provenance
    complexity: Complexity | None = None
    golden: Golden | None = None
    lower_goldens: tuple[Golden, ...] | None = None
    parity: Parity | None = None
    batch: Parity | None = None
    digest: str = ""


@dataclass(frozen=True)
class Bundle:
    """A checked bundle on disk."""

    path: Path
    manifest: Manifest

    @property
    def spec(self) -> ModelSpec:
        return self.manifest.spec

    @property
    def files(self) -> tuple[BundleFile, ...]:
        return self.manifest.files

    @property
    def digest(self) -> str:
        """Identifies the bundle's whole content: sha256 over the manifest, which holds the digest of every file."""
        return self.manifest.digest

    def file(self, name: str) -> Path:
        """The path of a file that the manifest lists."""
        if name not in {entry.name for entry in self.files}:
            raise BundleError(f"{self.path}: the manifest lists no file '{name}'; export the bundle again")
        return self.path / name

    def golden(self, *, backend: str, precision: str) -> Golden:
        """The golden tensors that a backend in a precision is compared with: one for fp32, of lower ones each its own."""
        backend = _FILES_OF.get(backend, backend)
        first, lower = self.manifest.golden, self.manifest.lower_goldens or ()
        if first is not None and first.precision == precision:
            return first
        # TensorRT is compared with ONNX Runtime, which computes what the graph says layer by layer.
        makers = ("trt", "ort") if backend == "trt" else (backend,)
        own = [
            golden for maker in makers for golden in lower if (golden.precision, golden.backend) == (precision, maker)
        ]
        if not own:
            which = "" if first is None else f" for {precision} on backend '{backend}'"
            raise BundleError(
                f"{self.path} has no golden tensors{which}, so that cannot be verified; export the bundle again, or quantize it "
                "for that backend"
            )
        return own[0]

    def model_file(self, *, backend: str, precision: str, graph: str = "main") -> BundleFile:
        """The model file for a backend and precision: one made for that backend before a portable one."""
        backend = _FILES_OF.get(backend, backend)
        models = [f for f in self.files if f.role == "model" and f.graph == graph]
        fitting = [f for f in models if f.precision == precision and f.target in (backend, "any")]
        if not fitting and (backend, precision) == ("trt", "fp16"):
            # Up to 10.11 TensorRT makes fp16 of the fp32 graph itself; for a later one the plan of the build refuses.
            return self.model_file(backend=backend, precision="fp32", graph=graph)
        if not fitting:
            there = ", ".join(sorted({f"{f.precision} for {f.target}" for f in models})) or "none"
            raise UsageError(
                f"{self.path} holds no {precision} model for backend '{backend}' (it holds: {there}); "
                "choose another --precision or --backend"
            )
        return min(fitting, key=lambda f: f.target == "any")


def load_bundle(path: Path | str) -> Bundle:
    """The bundle in folder `path`, after checking the manifest and the size and digest of every file.

    Raises BundleError with its own sentence for: no such folder, no manifest, not JSON, newer format, invalid or edited
    manifest, missing file, truncated file, changed file, or a path that leaves the folder.
    """
    folder = Path(path)
    content = _read_manifest(folder)
    manifest = _parse(folder, content)
    if content_digest(content) != manifest.digest:
        raise BundleError(
            f"{folder / MANIFEST} was edited after the bundle was written: its content does not match its digest "
            f"{manifest.digest[:12]}…; export the bundle again"
        )
    for entry in manifest.files:
        _check_file(folder, entry)
    return Bundle(folder, manifest)


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Write the manifest, with its digest, as the last file of a new bundle in `folder`."""
    content = manifest.model_dump(mode="json", exclude={"digest"}, exclude_none=True)
    sealed = {**content, "digest": content_digest(content)}
    (folder / MANIFEST).write_text(json.dumps(sealed, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return Manifest.model_validate(sealed)


def describe_file(
    folder: Path,
    name: str,
    role: Literal["model", "weights", "golden", "report", "labels", "recipe", "calibration"],
    *,
    graph: str = "main",
    precision: Precision | None = None,
    target: str = "any",
) -> BundleFile:
    """The manifest entry of file `name` inside `folder`, with its digest and size."""
    path = folder / name
    return BundleFile(
        name=name, role=role, sha256=file_sha256(path), size=path.stat().st_size,
        graph=graph, precision=precision, target=target,
    )  # fmt: skip


def file_sha256(path: Path) -> str:
    """The sha256 of a file as lower-case hex; read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while piece := handle.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def content_digest(content: dict[str, Any]) -> str:
    """sha256 over a manifest's content as canonical JSON, without the digest itself.

    It is taken over what stands in the file, not over the parsed model: a newer version that knows more keys, with
    defaults, still accepts an older file.
    """
    rest = {key: value for key, value in content.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _read_manifest(folder: Path) -> dict[str, Any]:
    if not folder.exists():
        raise BundleError(f"there is no bundle at {folder}; check the path, or make one with `edgewright export`")
    if not folder.is_dir():
        raise BundleError(
            f"{folder} is a file, a bundle is a folder; make one: `edgewright export {folder.name} --family F --labels L -o BUNDLE`"
        )
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _MAX_MANIFEST_BYTES:
            raise BundleError(
                f"{path} is larger than {_MAX_MANIFEST_BYTES >> 20} MiB, so it is no manifest; export the bundle again"
            )
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise BundleError(f"{folder} has no {MANIFEST}, so it is no bundle; make one with `edgewright export`") from err
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as err:
        raise BundleError(
            f"{path} cannot be read ({err}); it is truncated or damaged, copy or export the bundle again"
        ) from err
    if not isinstance(content, dict):
        raise BundleError(f"{path} holds a JSON {type(content).__name__} instead of an object; export the bundle again")
    return content


def _parse(folder: Path, content: dict[str, Any]) -> Manifest:
    path, version = folder / MANIFEST, content.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise BundleError(f"{path} has format {version}, this edgewright reads up to {FORMAT}; update edgewright")
    try:
        return Manifest.model_validate(content)
    except ValidationError as err:
        raise BundleError(f"{path}: {first_problem(err)}; export the bundle again") from err


def first_problem(err: ValidationError) -> str:
    """The first complaint of pydantic as `where: what`, with a count of the others."""
    first = err.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "content"
    more = f" (and {err.error_count() - 1} more)" if err.error_count() > 1 else ""
    return f"{where}: {first['msg'].removeprefix('Value error, ')}{more}"


def _check_file(folder: Path, entry: BundleFile) -> None:
    relative = PurePosixPath(entry.name)
    path = folder / relative
    if relative.is_absolute() or ".." in relative.parts or not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(
            f"{folder / MANIFEST} names {entry.name}, which lies outside the bundle; do not use this bundle"
        )
    if not path.is_file():
        raise BundleError(f"{path} is missing; copy the whole bundle, or export it again")
    size = path.stat().st_size
    if size < entry.size:
        raise BundleError(f"{path} is truncated: {size} bytes of {entry.size}; copy or export the bundle again")
    digest = file_sha256(path)
    if digest != entry.sha256:
        raise BundleError(
            f"{path}: sha256 is {digest[:12]}…, the manifest says {entry.sha256[:12]}…; "
            "the file was changed after the bundle was written, export the bundle again"
        )
