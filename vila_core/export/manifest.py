"""What an exported checkpoint's directory holds: manifest.json beside the graphs, engines.json beside the engines."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vila_core.errors import CheckpointError
from vila_core.machine.files import write_text

MANIFEST, ENGINES, EMBEDDINGS, CHECKPOINT = "manifest.json", "engines.json", "embeddings.safetensors", "checkpoint"
FORMAT = 1


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
    """Read manifest.json; CheckpointError if there is none or it is of another release."""
    raw = _read(folder / MANIFEST, "write one with `vila engine export CHECKPOINT --out DIR`")
    try:
        graphs = {name: _graph(graph) for name, graph in raw.pop("graphs").items()}
        return Manifest(limits=Limits(**raw.pop("limits")), graphs=graphs, **raw)
    except (KeyError, TypeError, AttributeError) as err:
        raise CheckpointError(f"{folder / MANIFEST} is not whole: {err!r}; export the checkpoint again") from err


def write_engines(folder: Path, engines: Engines) -> None:
    """Write engines.json."""
    _write(folder / ENGINES, engines)


def read_engines(folder: Path) -> Engines:
    """Read engines.json; CheckpointError if nothing was built or it is of another release."""
    raw = _read(folder / ENGINES, "build them on this device with `vila engine build DIR`")
    try:
        return Engines(**raw)
    except TypeError as err:
        raise CheckpointError(f"{folder / ENGINES} is not whole: {err}; build the engines again") from err


def _graph(raw: dict[str, Any]) -> GraphSpec:
    def specs(key: str) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(spec["name"], spec["dtype"], tuple(spec["shape"])) for spec in raw[key])

    return GraphSpec(raw["file"], specs("inputs"), specs("outputs"))


def _write(file: Path, value: Manifest | Engines) -> None:
    write_text(file, json.dumps(dataclasses.asdict(value), indent=1) + "\n")


def _read(file: Path, remedy: str) -> dict[str, Any]:
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except OSError as err:
        raise CheckpointError(f"cannot read {file}: {err.strerror}; {remedy}") from err
    except ValueError as err:
        raise CheckpointError(f"{file} is not JSON: {err}") from err
    found = raw.get("format") if isinstance(raw, dict) else None
    if found != FORMAT:
        raise CheckpointError(f"{file} has format {found!r}, this release reads {FORMAT}; {remedy}")
    return raw
