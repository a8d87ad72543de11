"""Llama-3's BPE ranks (`tokenizer.model`: lines of base64 and rank) as the tokenizer.json that checkpoints ship."""

from __future__ import annotations

import base64
import binascii
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as FastTokenizer

from vila_core.errors import ConfigError

# Meta's split pattern and special tokens (llama_models/llama3/tokenizer.py)
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
_BOS, _EOS = "<|begin_of_text|>", "<|end_of_text|>"
_FIRST_SPECIAL = (
    _BOS,
    _EOS,
    *(f"<|reserved_special_token_{number}|>" for number in range(4)),
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|reserved_special_token_4|>",
    "<|eot_id|>",
)


def installed_ranks() -> Path | None:
    """Return the file of the package llama-models, if that is installed."""
    spec = importlib.util.find_spec("llama_models")
    places = (
        [Path(place) / "llama3" / "tokenizer.model" for place in (spec.submodule_search_locations or ())]
        if spec
        else []
    )
    return next((place for place in places if place.is_file()), None)


def write_tokenizer(ranks_file: Path, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json, with a BOS before every text, into the folder.

    Raises ConfigError if the file holds no ranks.
    """
    ranks = _read_ranks(ranks_file)
    fast = FastTokenizer(_bpe(ranks))
    split = pre_tokenizers.Split(Regex(_WORDS), behavior="isolated", invert=False)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    fast.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    fast.decoder = decoders.ByteLevel()
    fast.add_tokens([AddedToken(token, special=True, normalized=False) for token in _FIRST_SPECIAL])
    fast.post_processor = processors.TemplateProcessing(single=f"{_BOS} $A", special_tokens=[(_BOS, len(ranks))])
    fast.save(str(folder / "tokenizer.json"))
    config = {"bos_token": _BOS, "eos_token": _EOS, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def _read_ranks(file: Path) -> dict[bytes, int]:
    try:
        rows = [line.split() for line in file.read_text(encoding="ascii").splitlines() if line]
        return {base64.b64decode(token, validate=True): int(rank) for token, rank in rows}
    except (OSError, ValueError, binascii.Error) as err:
        raise ConfigError(f"{file} is no list of Llama-3's BPE ranks: {err}") from err


def _bpe(ranks: Mapping[bytes, int]) -> models.BPE:
    """Find the pair that each token was merged from: what the lower ranks leave of it."""
    letters = _byte_letters()
    merges = []
    for token, rank in ranks.items():
        if len(token) > 1:
            parts = _split_below(token, ranks, rank)
            if len(parts) == 2:
                merges.append((_spelled(parts[0], letters), _spelled(parts[1], letters)))
    vocab = {_spelled(token, letters): rank for token, rank in ranks.items()}
    return models.BPE(vocab, merges, ignore_merges=True)


def _split_below(token: bytes, ranks: Mapping[bytes, int], limit: int) -> list[bytes]:
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 1:
        pairs = [ranks.get(parts[i] + parts[i + 1], limit) for i in range(len(parts) - 1)]
        best = min(pairs)
        if best >= limit:
            break
        at = pairs.index(best)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def _byte_letters() -> list[str]:
    """The letter that byte-level BPE writes for each byte (GPT-2's bytes_to_unicode)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) if byte in shown else chr(256 + hidden.index(byte)) for byte in range(256)]


def _spelled(token: bytes, letters: list[str]) -> str:
    return "".join(letters[byte] for byte in token)
