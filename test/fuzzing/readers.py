"""All readers of files from outside: how to make healthy inputs for each, and how one is read to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Reader:
    """make: writes healthy inputs into a folder, by kind. read: reads one whole; a VilaError is a right answer.

    files: of an input that is a folder, the patterns of those to damage.
    """

    make: Callable[[Path], Mapping[str, Path]]
    read: Callable[[Path], object]
    files: tuple[str, ...] = ("*",)


def damaged_files(reader: Reader, source: Path) -> list[Path]:
    """The files of an input that the reader wants damaged, in order of their names."""
    if source.is_file():
        return [source]
    return sorted({file for pattern in reader.files for file in source.rglob(pattern) if file.is_file()})


def _checkpoints(folder: Path) -> dict[str, Path]:
    from vila_core.random_checkpoints.make import make_random
    from vila_core.random_checkpoints.shapes import model_shape, tiny

    kinds = {
        "classic": ("nvila-lite-2b", "classic"),
        "hf-preview": ("nvila-lite-2b", "hf-preview"),
        "hf": ("nvila-lite-2b", "hf"),
        "llama_3": ("navila-8b", "classic"),
        "llama": ("vila1.5-3b-s2", "classic"),
    }
    for kind, (like, layout) in kinds.items():
        make_random(folder / kind, tiny(model_shape(like)), name=like, layout=layout)
    return {kind: folder / kind for kind in kinds}


def _read_description(path: Path) -> None:
    from vila_core.models.stored.checkpoint import build_model
    from vila_core.models.stored.config_reader import config_of
    from vila_core.models.stored.layouts import open_layout
    from vila_core.models.tokenizer import Tokenizer

    layout = open_layout(path)
    config = config_of(layout)
    tokenizer = Tokenizer(layout.tokenizer, slow=config.generation == "native")
    tokenizer.decode(tokenizer.encode("turn left at the <image> door"))
    build_model(config, tokenizer, device="meta")


def _read_checkpoint(path: Path) -> None:
    from vila_core.engine.backend import load_backend

    load_backend("torch", path, precision="float32").close()


def _pictures(folder: Path) -> dict[str, Path]:
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    picture, found = Image.fromarray(pixels), {}
    for suffix in ("png", "jpg", "webp", "bmp", "tiff", "gif", "ppm"):
        found[suffix] = folder / f"picture.{suffix}"
        picture.save(found[suffix])
    deep = (pixels[..., 0].astype(np.uint16) * 257).astype(np.uint16)
    for suffix in ("png", "tiff"):
        found[f"16 bit {suffix}"] = folder / f"deep.{suffix}"
        Image.fromarray(deep).save(found[f"16 bit {suffix}"])
    found["alpha"] = folder / "alpha.png"
    picture.convert("RGBA").save(found["alpha"])
    return found


def _read_picture(path: Path) -> None:
    from vila_core.media.pictures import read_image

    read_image(path)


def _films(folder: Path) -> dict[str, Path]:
    import av
    import numpy as np

    codecs = {"mp4": "libx264", "mkv": "libx264", "webm": "libvpx", "avi": "mjpeg", "ts": "mpeg2video", "gif": "gif"}
    formats = {"avi": "yuvj420p", "gif": "rgb8"}
    for suffix, codec in codecs.items():
        with av.open(
            str(folder / f"film.{suffix}"), "w", format={"ts": "mpegts", "mkv": "matroska"}.get(suffix)
        ) as out:
            stream = out.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 32, 32, formats.get(suffix, "yuv420p")
            for number in range(6):
                image = np.full((32, 32, 3), 40 * number, np.uint8)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
            out.mux(stream.encode())
    return {suffix: folder / f"film.{suffix}" for suffix in codecs}


def _read_film(path: Path) -> None:
    from vila_core.media.films import read_video

    read_video(path, lambda count, fps: range(min(count, 4)))


def _bags(folder: Path) -> dict[str, Path]:
    from bag_files import BAG_KINDS

    found = {}
    for kind, make in BAG_KINDS.items():
        (folder / kind).mkdir()
        found[kind] = make(folder / kind)
    return found


def _read_bag(path: Path) -> None:
    from vila_core.media.bags import bag_images

    for _ in bag_images(path):
        pass


def _texts(folder: Path) -> dict[str, Path]:
    texts = {
        "instruction": "Walk past the sofa, turn left at the door and stop beside the <image> table.\nUSER: no",
        "reply": "The next action is turn left 30 degrees.",
        "interval": "The event happens from <3> to <17>, between 4.5 s and 9 seconds.",
    }
    for kind, text in texts.items():
        (folder / f"{kind}.txt").write_text(text)
    return {kind: folder / f"{kind}.txt" for kind in texts}


def _read_text(path: Path) -> None:
    from vila_core.actions.parser import official_action, parse_action
    from vila_core.errors import VilaError
    from vila_core.prompts.instruction import sanitize
    from vila_core.prompts.localization import clean_query, in_seconds
    from vila_core.prompts.navigation import navila_text

    data = path.read_bytes()
    for text in (data.decode("utf-8", "surrogateescape"), data.decode("latin-1"), data.decode("utf-16", "replace")):
        for read in (
            lambda text: navila_text(sanitize(text, 1000), 8),
            lambda text: clean_query(text, 200),
            parse_action,
            official_action,
            lambda text: in_seconds(text, ("<t0>", "<t1>"), 10.0),
        ):
            try:
                read(text)
            except VilaError:
                continue


def _episodes(folder: Path) -> dict[str, Path]:
    from vila_sim.episodes.episode_files import write_episodes
    from vila_sim.episodes.splits import generate_episodes

    found = {suffix: folder / f"episodes.{suffix}" for suffix in ("json", "json.gz")}
    for file in found.values():
        write_episodes(file, generate_episodes("val_seen", 2))
    return found


def _read_episodes(path: Path) -> None:
    from vila_sim.episodes.episode_files import read_episodes

    read_episodes(path)


def _adapters(folder: Path) -> dict[str, Path]:
    import json
    import shutil

    reference = Path(__file__).parents[1] / "reference"
    found = {kind: folder / kind for kind in ("plain", "rslora", "dora")}
    for kind, place in found.items():
        shutil.copytree(reference / "lora" / kind, place, ignore=shutil.ignore_patterns("merged*"))
        file = place / "adapter_config.json"
        base = reference / "vila" / "checkpoints" / "nvila_lite_tiny"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": str(base)}))
    return found


def _annotations(folder: Path) -> dict[str, Path]:
    import json

    from PIL import Image

    (folder / "train").mkdir()
    Image.new("RGB", (4, 4)).save(folder / "train" / "a.jpg")
    rows = [{"video_id": "1", "q": "go on", "a": "stop", "frames": ["a.jpg", "b.jpg"]}] * 2
    found = {"list": folder / "annotations.json", "lines": folder / "lines.json"}
    found["list"].write_text(json.dumps(rows))
    found["lines"].write_text("\n".join(map(json.dumps, rows)))
    return found


def _read_annotations(path: Path) -> None:
    from vila_tools.finetune.annotations import read_annotations

    read_annotations(path)


READERS: dict[str, Reader] = {
    "adapters": Reader(_adapters, _read_checkpoint),
    "annotations": Reader(_annotations, _read_annotations),
    "checkpoint JSON": Reader(_checkpoints, _read_description, ("*.json",)),
    "tokenizer": Reader(
        _checkpoints, _read_description, ("vocab.json", "merges.txt", "tokenizer*", "added_tokens.json")
    ),
    "weights": Reader(_checkpoints, _read_checkpoint, ("*.safetensors", "*.index.json")),
    "pictures": Reader(_pictures, _read_picture),
    "films": Reader(_films, _read_film),
    "bags": Reader(_bags, _read_bag),
    "texts": Reader(_texts, _read_text),
    "episodes": Reader(_episodes, _read_episodes),
}
