"""Build TensorRT engines of an exported checkpoint, for the device it runs on or, with TensorRT for RTX, for another.

The networks are strongly typed: each tensor has the type that the ONNX file gives it, 8 bits where Q and DQ stand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vila_core.errors import BackendError, ConfigError
from vila_core.export.manifest import ENGINES, Engines, GraphSpec, Limits, Manifest, read_manifest, write_engines
from vila_core.export.runtimes import MODULES, load_runtime, made, make_logger
from vila_core.files.reading import require_file
from vila_core.files.writing import written_whole

BUILD_PRECISIONS = ("fp16", "int8", "int4", "fp32")
TIMING_CACHE = "timing.cache"
_STORED = {"fp16": "float16", "int8": "float16", "int4": "float16", "fp32": "float32"}
_USUAL_PREFILL = 256  # tokens of a pass for which kernels are chosen: one frame and a little text

Range = tuple[int, int, int]  # least, usual, most


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build. capability: "8.7" and the like, "" for the device that is there. workspace_mb: scratch memory.

    precision: "int8": the vision tower's; "int4": the decoder's, and the tower in 8 bits if it was exported so.

    decode_profile: kernels of their own for passes of one token. The engine then holds the decoder's weights twice
    (TensorRT for RTX 1.7: 5.3 GB instead of 2.6 for NVILA-Lite-2B), and a choice in one pass never decodes.
    """

    precision: str = "fp16"
    runtime: str = "tensorrt"
    capability: str = ""
    workspace_mb: int = 2048
    decode_profile: bool = False

    def __post_init__(self) -> None:
        for value, known in ((self.precision, BUILD_PRECISIONS), (self.runtime, MODULES)):
            if value not in known:
                raise ConfigError(f"{value!r} is not supported; supported: {', '.join(known)}")


def build_engines(
    folder: Path, options: BuildOptions, *, on_part: Callable[[str], None] = lambda part: None
) -> Engines:
    """Build the engines of an export beside it and write engines.json; on_part is told each before it is begun.

    Raises CheckpointError for what is no export, ConfigError for a precision it does not hold or a device that cannot
    be built for, MissingDependencyError without the runtime, BackendError with the parser's or builder's own words.
    """
    manifest = read_manifest(folder)
    graphs = graphs_to_build(manifest, options.precision)
    trt = load_runtime(options.runtime)
    maker = _Maker(trt, options, folder / TIMING_CACHE)
    (folder / ENGINES).unlink(missing_ok=True)  # what it tells of is about to be replaced
    seconds, files = {}, {}
    for part, graph in graphs.items():
        on_part(part)
        began = time.monotonic()
        profiles = profiles_of(part, graph, manifest.limits, decode=options.decode_profile)
        plan = maker.build(folder / graph.file, profiles)
        files[part] = f"{part}.engine"
        with written_whole(folder / files[part]) as made_file:
            made_file.write_bytes(plan)
        seconds[part] = round(time.monotonic() - began, 2)
    engines = Engines(
        runtime=options.runtime,
        version=trt.__version__,
        precision=options.precision,
        device=options.capability or _device_here(),
        files=files,
        profiles={"prefill": 0, "decode": int(options.decode_profile)},
        seconds=seconds,
    )
    write_engines(folder, engines)
    return engines


def graphs_to_build(manifest: Manifest, precision: str) -> dict[str, GraphSpec]:
    """The graphs for a precision by part. Raises ConfigError, naming the remedy, if the export lacks them."""
    if _STORED[precision] != manifest.precision:
        raise ConfigError(
            f"{precision} is built of an export in {_STORED[precision]}, this one is in {manifest.precision}; export "
            f"again with --precision {_STORED[precision]}"
        )
    vision = "vision_int8" if precision == "int8" else "vision"
    if precision == "int4" and "vision_int8" in manifest.graphs:
        vision = "vision_int8"
    if vision not in manifest.graphs:
        raise ConfigError("the export has no 8-bit vision tower; export again with --calibration PICTURES")
    return {"vision": manifest.graphs[vision], "decoder": _decoder(manifest, precision)}


def _decoder(manifest: Manifest, precision: str) -> GraphSpec:
    """The decoder as it was exported; the 4-bit one is 4-bit in every engine."""
    if "decoder_int4" in manifest.graphs and precision != "int4":
        raise ConfigError(
            "the export's decoder is in 4 bits; build it with --precision int4, or export again with --plain-decoder"
        )
    if precision == "int4" and "decoder_int4" not in manifest.graphs:
        raise ConfigError("the export has no 4-bit decoder; export a checkpoint that `vila quantize` wrote")
    return manifest.graphs["decoder_int4" if precision == "int4" else "decoder"]


def profiles_of(
    part: str, graph: GraphSpec, limits: Limits, *, decode: bool = False
) -> list[dict[str, tuple[Range, ...]]]:
    """For each optimisation profile of a part: input name -> (least, usual, most) of every dimension.

    decode: give the decoder a second one, for passes of one token.
    """
    if part == "vision":
        return [_profile(graph, {"batch": (1, 1, limits.batch)})]
    rows = (1, limits.rows, limits.rows)
    passes = [(1, min(_USUAL_PREFILL, limits.tokens), limits.tokens), *([(1, 1, 1)] if decode else [])]
    return [_profile(graph, {"tokens": tokens, "rows": rows}) for tokens in passes]


def _profile(graph: GraphSpec, free: dict[str, Range]) -> dict[str, tuple[Range, ...]]:
    def size(dim: int | str) -> Range:
        if isinstance(dim, int):
            return (dim, dim, dim)
        least, usual, most = zip(*(free[name] for name in dim.split("+")), strict=True)
        return (sum(least), sum(usual), sum(most))

    return {spec.name: tuple(size(dim) for dim in spec.shape) for spec in graph.inputs}


class _Maker:
    """A builder, and the timings that its builds share with those of earlier runs."""

    def __init__(self, trt: Any, options: BuildOptions, timings: Path) -> None:
        self._trt, self._options, self._timings = trt, options, timings
        self._logger = make_logger(trt)
        self._builder = made(trt.Builder, self._logger)
        self._capability = capability_of(trt, options)

    def build(self, file: Path, profiles: list[dict[str, tuple[Range, ...]]]) -> bytes:
        """Build one ONNX file; returns the serialized engine."""
        network, parser = self._parsed(file)
        config = self._config(profiles)
        plan = self._builder.build_serialized_network(network, config)
        del parser  # it holds the weights, which the network reads until here
        if plan is None:
            raise BackendError(f"{self._options.runtime} could not build {file.name}; its messages are above")
        self._keep_timings(config)
        return bytes(plan)

    def _parsed(self, file: Path) -> tuple[Any, Any]:
        flags = 1 << int(self._trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = self._builder.create_network(flags)
        parser = self._trt.OnnxParser(network, self._logger)
        require_file(file, error=BackendError, remedy="export the checkpoint again")
        if not parser.parse_from_file(str(file)):
            said = "; ".join(str(parser.get_error(number)) for number in range(parser.num_errors))
            raise BackendError(f"{self._options.runtime} cannot read {file}: {said}")
        return network, parser

    def _config(self, profiles: list[dict[str, tuple[Range, ...]]]) -> Any:
        config = self._builder.create_builder_config()
        config.set_memory_pool_limit(self._trt.MemoryPoolType.WORKSPACE, self._options.workspace_mb << 20)
        for ranges in profiles:
            profile = self._builder.create_optimization_profile()
            for name, dims in ranges.items():
                profile.set_shape(name, *(tuple(size) for size in zip(*dims, strict=True)))
            config.add_optimization_profile(profile)
        if self._times:
            known = self._timings.read_bytes() if self._timings.is_file() else b""
            config.set_timing_cache(config.create_timing_cache(known), ignore_mismatch=False)
        if self._capability is not None:
            config.num_compute_capabilities = 1
            config.set_compute_capability(self._capability, 0)
        return config

    def _keep_timings(self, config: Any) -> None:
        cache = config.get_timing_cache() if self._times else None
        if cache is not None:
            with written_whole(self._timings) as made_file:
                made_file.write_bytes(bytes(cache.serialize()))

    @property
    def _times(self) -> bool:
        """Whether building tries kernels; TensorRT for RTX leaves that to the machine that runs the engine."""
        return self._options.runtime == "tensorrt"


def capability_of(trt: Any, options: BuildOptions) -> Any:
    """The runtime's constant for the device to build for; None for the one that is there.

    Raises ConfigError for a device that TensorRT for RTX does not know, or another than the one that is there:
    TensorRT chooses its kernels by trying them.
    """
    if not options.capability:
        return None
    if options.runtime == "tensorrt-rtx":
        name = "SM" + options.capability.replace(".", "")
        known = {key: value for key, value in trt.ComputeCapability.__members__.items() if key.startswith("SM")}
        if name not in known:
            raise ConfigError(f"tensorrt-rtx does not build for {name}, only for {', '.join(known)}")
        return known[name]
    here = _device_here()
    if here != options.capability:
        raise ConfigError(
            f"tensorrt builds for the device it runs on, which is {here or 'none'}, not {options.capability}; run "
            "`vila engine build` there"
        )
    return None


def _device_here() -> str:
    """Compute capability of the device that is there, "" for none."""
    import torch

    if not torch.cuda.is_available():
        return ""
    major, minor = torch.cuda.get_device_capability()
    return f"{major}.{minor}"
