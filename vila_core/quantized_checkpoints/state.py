"""What a run that was stopped goes on from: each finished layer, and the hidden states that the next one reads."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vila_core.errors import CheckpointError, ConfigError
from vila_core.files.json_object import read_object
from vila_core.files.reading import is_there
from vila_core.files.writing import require_unused, write_text, written_whole
from vila_core.models.stored.layouts import Layout
from vila_core.models.stored.weights import StoredTensor, stored_tensors
from vila_core.quantization.install import install_quantized


def fingerprint(options: Sequence[object], layout: Layout, embeddings: Sequence[Tensor]) -> str:
    """Hash all that a quantized layer depends on, of large weight files their size and time.

    options: what JSON takes. embeddings: of the calibration.
    """
    digest = hashlib.sha256(json.dumps([*options, layout.language.raw]).encode())
    for rows in embeddings:
        digest.update(rows.float().cpu().numpy().tobytes())
    folders = [layout.parts["llm"].folder, *(() if layout.adapter is None else (layout.adapter.folder,))]
    for file in [file for folder in folders for file in sorted(folder.glob("*.safetensors"))]:
        facts = file.stat()
        digest.update(f"{file.name} {facts.st_size} {facts.st_mtime_ns}".encode())
    return digest.hexdigest()


class QuantizeState:
    """Files below the output directory; they go when the checkpoint is written.

    fingerprint: of everything that the layers depend on, see above.
    """

    def __init__(self, out: Path, fingerprint: str) -> None:
        """Open or begin; ConfigError if the directory holds something else, or the state of another run."""
        self.folder = out / ".quantize"
        note = self.folder / "run.json"
        if is_there(note):
            again = f"delete {self.folder} to begin again"
            if read_object(note, error=ConfigError, remedy=again).text("fingerprint") != fingerprint:
                raise ConfigError(
                    f"{out} holds the unfinished work of other options, calibration or checkpoint; delete it or give "
                    "another --out"
                )
            return
        require_unused(out)
        write_text(note, json.dumps({"fingerprint": fingerprint}) + "\n")

    def finished(self) -> int:
        """How many layers are done."""
        try:
            if not is_there(self._hidden):
                return 0
            kept = load_file(self._hidden)
            return int(kept["layers"]) if kept["hidden"].dim() == 2 else 0
        except (OSError, SafetensorError, KeyError, RuntimeError) as err:
            raise ConfigError(f"{self._hidden} cannot be read: {err}; delete {self.folder} to begin again") from err

    def hidden(self, device: torch.device) -> Tensor:
        """Hidden states [T, D] behind the last finished layer."""
        return load_file(self._hidden)["hidden"].to(device)

    def keep(self, number: int, layer: nn.Module, hidden: Tensor) -> None:
        """Keep a finished layer and what it gave; either both count or none."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in layer.state_dict().items()}
        with written_whole(self._layer(number)) as made:
            save_file(tensors, made)
        with written_whole(self._hidden) as made:
            save_file({"hidden": hidden.cpu().contiguous(), "layers": torch.tensor(number + 1)}, made)

    def restore(self, number: int, layer: nn.Module) -> None:
        """Give the layer, which lies on "meta", the form of what was kept of it."""
        install_quantized(layer, {tensor.name: tensor.shape for tensor in self.kept(number)})

    def kept(self, number: int) -> list[StoredTensor]:
        """Where a finished layer's tensors lie. ConfigError if they cannot be read."""
        try:
            return stored_tensors(self._layer(number))
        except CheckpointError as err:
            raise ConfigError(f"{err}; delete {self.folder} to begin again") from err

    def remove(self) -> None:
        """Delete the files."""
        shutil.rmtree(self.folder)

    @property
    def _hidden(self) -> Path:
        return self.folder / "hidden.safetensors"

    def _layer(self, number: int) -> Path:
        return self.folder / f"layer_{number:03d}.safetensors"
