"""The checkpoint's own tokenizer, read from `llm/tokenizer.json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer as FastTokenizer

from vila_core.errors import CheckpointError


class Tokenizer:
    """Text to token ids and back. Special tokens written in the text become their ids."""

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise CheckpointError(
                f"{file} is missing: only checkpoints with a tokenizer.json can be read "
                "(convert a SentencePiece tokenizer.model with transformers' AutoTokenizer.save_pretrained)"
            )
        self._fast = FastTokenizer.from_file(str(file))

    def encode(self, text: str) -> list[int]:
        """Token ids of the text alone: no BOS is added."""
        return self._fast.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids, special tokens left out."""
        return self._fast.decode(list(ids), skip_special_tokens=True)

    @property
    def bos_ids(self) -> list[int]:
        """What an ordinary call of the tokenizer puts before a text: empty, or one BOS."""
        return self._fast.encode("", add_special_tokens=True).ids[:1]
