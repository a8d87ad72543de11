"""What an exported checkpoint's directory holds: manifest.json beside the graphs, engines.json beside the engines."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from vila_core.errors import CheckpointError
from vila_core.files.json_object import JsonObject, read_object, show
from vila_core.files.writing import write_text
from vila_core.machine.arithmetic import DTYPES

MANIFEST, ENGINES, EMBEDDINGS, CHECKPOINT = "manifest.json", "engines.json", "embeddings.safetensors", "checkpoint"
FORMAT = 1
_MOST = 1 << 30
_FREE = {"batch", "tokens", "rows"}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A graph's input or output. shape: numbers, and of free dimensions their names, "a+b" for a sum."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class GraphSpec:
    """An ONNX file; the weights of a large one lie beside it in FILE.data."""

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that the engines are made for: frames of a batch, tokens of a pass, rows of the key/value cache."""

    batch: int
    tokens: int
    rows: int

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                raise CheckpointError(f"{field.name} {getattr(self, field.name)}: must be at least 1")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was exported. graphs: "vision", "decoder" and, with 8-bit linears, "vision_int8"."""

    name: str
    family: str
    precision: str
    opset: int
    limits: Limits
    graphs: dict[str, GraphSpec]
    versions: dict[str, str]
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Engines:
    """What was built of it. files: engine file by part, "vision" and "decoder".

    profiles: of the decoder, for "prefill" and for "decode" of one token; they may be the same one.
    """

    runtime: str
    version: str
    precision: str
    device: str
    files: dict[str, str]
    profiles: dict[str, int]
    seconds: dict[str, float]
    format: int = FORMAT


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json."""
    _write(folder / MANIFEST, manifest)


def read_manifest(folder: Path) -> Manifest:
    """Read manifest.json; CheckpointError if there is none, it is not whole, or it is of another release."""
    given = _read(folder / MANIFEST, "write one with `vila engine export CHECKPOINT --out DIR`")
    limits, graphs, versions = given.object("limits"), given.object("graphs"), given.object("versions")
    return Manifest(
        name=given.text("name"),
        family=given.text("family"),
        precision=given.choice("precision", tuple(DTYPES)),
        opset=given.integer("opset", most=1000),
        limits=Limits(*(limits.integer(each.name, most=_MOST) for each in dataclasses.fields(Limits))),
        graphs={name: _graph(graphs.object(name)) for name in graphs.raw},
        versions={name: versions.text(name) for name in versions.raw},
    )


def write_engines(folder: Path, engines: Engines) -> None:
    """Write engines.json."""
    _write(folder / ENGINES, engines)


def read_engines(folder: Path) -> Engines:
    """Read engines.json; CheckpointError if nothing was built, it is not whole, or it is of another release."""
    given = _read(folder / ENGINES, "build them on this device with `vila engine build DIR`")
    files, profiles, seconds = given.object("files"), given.object("profiles"), given.object("seconds")
    return Engines(
        runtime=given.text("runtime"),
        version=given.text("version"),
        precision=given.text("precision"),
        device=given.text("device"),
        files={name: _file_name(files, name) for name in ("vision", "decoder", *files.raw)},
        profiles={name: profiles.integer(name, least=0, most=_MOST) for name in ("prefill", "decode", *profiles.raw)},
        seconds={name: seconds.number(name) for name in seconds.raw},
    )


def _graph(given: JsonObject) -> GraphSpec:
    def specs(key: str) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(row.text("name"), row.text("dtype"), _shape(row)) for row in given.objects(key))

    return GraphSpec(_file_name(given, "file"), specs("inputs"), specs("outputs"))


def _shape(given: JsonObject) -> tuple[int | str, ...]:
    axes = given.items("shape", most=16)
    for each, size in axes.raw.items():
        if isinstance(size, str) and not set(size.split("+")) <= _FREE:
            raise axes.wrong(each, f"a number, or names of free dimensions: {', '.join(sorted(_FREE))}")
    return tuple(
        axes.text(each) if isinstance(size, str) else axes.integer(each, least=0) for each, size in axes.raw.items()
    )


def _file_name(given: JsonObject, key: str) -> str:
    name = given.text(key)
    if not name or name != Path(name).name or "\0" in name:
        raise given.wrong(key, "the name of a file beside it")
    return name


def _write(file: Path, value: Manifest | Engines) -> None:
    write_text(file, json.dumps(dataclasses.asdict(value), indent=1) + "\n")


def _read(file: Path, remedy: str) -> JsonObject:
    given = read_object(file, remedy=remedy)
    if given.raw.get("format") != FORMAT:
        found = show(given.raw.get("format"))
        raise CheckpointError(f"{file} has format {found}, this release reads {FORMAT}; {remedy}")
    return given
