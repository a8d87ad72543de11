"""An adapter and its base as one: tensors as they are read, and a merged checkpoint in the layout of the base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from vila_core.files.writing import written_whole
from vila_core.models.stored.adapters import Key, adapted, base_digest, require_base, require_places, tensor_key
from vila_core.models.stored.layouts import Layout
from vila_core.models.stored.quantized_weights import require_plain
from vila_core.models.stored.relevance_files import FOLDER
from vila_core.models.stored.weights import AnyTensor, folder_tensors, stored_tensors, weight_files
from vila_core.models.stored.weights_writer import copy_other_files, write_tensors

_INDEX = "model.safetensors.index.json"


Progress = Callable[[Sequence[Path]], Iterable[Path]]  # passes files on as they are worked on; tqdm for one


def digest_of(layout: Layout) -> str:
    """Name the weights of a checkpoint, or of an adapter's base."""
    return base_digest(part.folder for part in layout.parts.values())


def require_whole_adapter(layout: Layout) -> None:
    """Raise CheckpointError for an adapter that does not fit its base: quantized, other weights, lost tensors."""
    if layout.adapter is None:
        return
    require_plain(layout)
    require_base(layout.adapter, digest_of(layout))
    require_places(layout.adapter, stored_keys(layout))


def stored_keys(layout: Layout) -> set[Key]:
    """Return which tensors a checkpoint has, or an adapter's base."""
    return {
        tensor_key(tensor.name, _prefixes(layout, folder))
        for folder in _weight_folders(layout)
        for tensor in folder_tensors(folder)
    }


def adapted_tensors(layout: Layout, folder: Path) -> list[AnyTensor]:
    """Return the tensors of one of the layout's folders, an adapter's changes in them."""
    tensors = folder_tensors(folder)
    return tensors if layout.adapter is None else adapted(layout.adapter, tensors, _prefixes(layout, folder))


def write_merged(layout: Layout, out: Path, *, progress: Progress = iter) -> None:
    """Write the base with the adapter merged in, file by file as the base's, each tensor stored as there.

    Nothing of it is in the directory until all is written. Raises CheckpointError as require_whole_adapter does,
    OutputError where it cannot be written.
    """
    assert layout.adapter is not None
    require_whole_adapter(layout)
    folders = dict.fromkeys(part.folder for part in layout.parts.values())
    with written_whole(out) as made:
        copy_other_files(layout.root, made)
        for folder in folders:
            copy_other_files(folder, _place(layout, folder, made))
            if (folder / _INDEX).is_file():
                shutil.copyfile(folder / _INDEX, _place(layout, folder, made) / _INDEX)
        files = [file for folder in _weight_folders(layout) for file in weight_files(folder)]
        for file in progress(files):
            changed = adapted(layout.adapter, stored_tensors(file), _prefixes(layout, file.parent))
            write_tensors(_place(layout, file.parent, made) / file.name, changed)
        if (layout.root / FOLDER).is_dir():
            shutil.copytree(layout.root / FOLDER, made / FOLDER, copy_function=shutil.copyfile)
        _name_local_parts(layout, made)


def _place(layout: Layout, folder: Path, made: Path) -> Path:
    """Where a folder of the base goes: the root, or the part's usual place."""
    if folder == layout.root:
        return made
    return made / next(name for name, part in layout.parts.items() if part.folder == folder)


def _name_local_parts(layout: Layout, made: Path) -> None:
    """Let config.json name no folders elsewhere: the parts stand where they are looked for first."""
    if layout.kind == "hf":
        return
    raw = {key: value for key, value in layout.top.raw.items() if not (key.endswith("_cfg") and isinstance(value, str))}
    if raw != layout.top.raw:
        (made / "config.json").write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")


def _weight_folders(layout: Layout) -> list[Path]:
    """The parts' folders that hold weights: an identity projector has none."""
    folders = dict.fromkeys(part.folder for part in layout.parts.values())
    return [folder for folder in folders if any(folder.glob("*.safetensors*"))]


def _prefixes(layout: Layout, folder: Path) -> dict[str, str]:
    """What the names of a part's tensors begin with in a folder."""
    return {name: part.prefix for name, part in layout.parts.items() if part.folder == folder}
