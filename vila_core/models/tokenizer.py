"""The checkpoint's own tokenizer: `tokenizer.json`, Qwen2's `vocab.json` and `merges.txt`, or SentencePiece.

Ids are those of the official code: HEAD's fast tokenizer with the media tokens added, and the slow
LlamaTokenizer(legacy=False) for VILA1.5. The two agree where both exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Protocol

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as FastTokenizer

from vila_core.errors import CheckpointError, InstructionError
from vila_core.files.json_object import JsonObject
from vila_core.files.reading import is_there, read_bytes, require_file
from vila_core.models.stored.config_checks import MOST_TOKENS
from vila_core.models.stored.config_reader import tokenizer_template
from vila_core.models.stored.layouts import read_json_if_there
from vila_core.types import IMAGE_TOKEN

SENTINEL_TOKEN, VIDEO_TOKEN = "<vila/sentinel>", "<vila/video>"
NATIVE_IMAGE_ID = -200  # stands for an image among the ids of VILA1.5's code; never a token
_SPACE = "\u2581"  # SentencePiece's mark of a space
_UNKNOWN = "<unk>"
_SAMPLE = "Turn left 15 degrees, then stop.\n"
# normalizer_spec { add_dummy_prefix: false } as protocol buffer bytes: appended to a model, it is merged into it
_NO_DUMMY_PREFIX = b"\x1a\x02\x18\x00"
# Qwen2's pre-tokenizer (Qwen2Converter of transformers)
_QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class MediaIds:
    """Token ids of the media tokens; they may lie behind the embedding's rows, so never embed them."""

    sentinel: int
    image: int
    video: int


class _Codec(Protocol):
    """What the two kinds of tokenizer files have in common."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int], slow: bool) -> str: ...

    def id_of(self, token: str) -> int | None: ...

    def add(self, tokens: Iterable[AddedToken]) -> None: ...

    def size(self) -> int: ...


class Tokenizer:
    """Text to token ids and back. Special tokens written in the text become their ids."""

    def __init__(self, path: Path, *, slow: bool = False) -> None:
        """Read the tokenizer of a folder, or a single tokenizer.json.

        slow: take tokenizer.model even beside a tokenizer.json, as VILA1.5's code did. The media tokens are added if
        the files lack them. Raises CheckpointError naming what is missing or unreadable.
        """
        folder = path if path.is_dir() else path.parent
        self._slow = slow
        self._config = read_json_if_there(folder / "tokenizer_config.json")
        self._names = (self._config, read_json_if_there(folder / "special_tokens_map.json"))
        self._codec = _open(path, folder, self._config, slow)
        self._codec.add(_added_tokens(folder, self._config, self._codec))
        self._codec.add(AddedToken(token, special=True) for token in (SENTINEL_TOKEN, IMAGE_TOKEN, VIDEO_TOKEN))
        self.bos_id, self.eos_id = self._special("bos_token"), self._special("eos_token")
        self.pad_id = self._special("pad_token")
        self.bos_ids = self._automatic_bos()
        self.chat_template = tokenizer_template(folder, self._config)
        self._clean_up = self._config.flag("clean_up_tokenization_spaces", False)
        self.encode(_SAMPLE)  # a file may be read and yet not work

    def __len__(self) -> int:
        """Number of tokens, media tokens included: it may exceed the embedding's rows."""
        return self._codec.size()

    @property
    def media_ids(self) -> MediaIds:
        """Ids of the sentinel, image and video tokens."""
        return MediaIds(self._id(SENTINEL_TOKEN), self._id(IMAGE_TOKEN), self._id(VIDEO_TOKEN))

    def encode(self, text: str, add_bos: bool = False) -> list[int]:
        """Token ids of the text; add_bos: behind what an ordinary call of the tokenizer puts first.

        Raises InstructionError for a text that is not Unicode, such as a command line's that is not UTF-8.
        """
        try:
            text.encode()
        except UnicodeEncodeError as err:
            raise InstructionError(f"character {err.start} of a text is no Unicode; write it in UTF-8") from err
        ids = self._codec.encode(text)
        return [*self.bos_ids, *ids] if add_bos else ids

    def encode_native(self, text: str) -> list[int]:
        """Ids of VILA1.5's and NaVILA's code: each chunk between `<image>` on its own, NATIVE_IMAGE_ID for those.

        If the first chunk begins with BOS, each later one loses its first id, which is BOS too for a tokenizer that
        adds it. (One that adds none loses a token of the text there, if that was written with BOS: the official
        tokenizer_image_token does so.)
        """
        chunks = [self.encode(chunk, add_bos=True) for chunk in text.split(IMAGE_TOKEN)]
        ids, later = chunks[0], chunks[1:]
        cut = int(bool(ids) and ids[0] == self.bos_id)
        return ids + [id_ for chunk in later for id_ in (NATIVE_IMAGE_ID, *chunk[cut:])]

    def decode(self, ids: Sequence[int], *, slow: bool | None = None) -> str:
        """Text of the ids, special tokens left out; time tokens are ordinary ones and stay.

        slow: which of the two official ways; they differ where bytes of a SentencePiece model make no UTF-8. None for
        the constructor's.
        """
        text = self._codec.decode(list(ids), self._slow if slow is None else slow)
        return _clean_up(text) if self._clean_up else text

    def id_of(self, token: str) -> int | None:
        """The id of a token's exact text, or None."""
        return self._codec.id_of(token)

    def _id(self, token: str) -> int:
        found = self._codec.id_of(token)
        if found is None:
            raise CheckpointError(f"the tokenizer has no token {token!r}")
        return found

    def _special(self, role: str) -> int | None:
        source = next((each for each in self._names if role in each.raw), None)
        if source is None or not source.has(role):
            return None
        token = source.raw[role]
        text = source.object(role).text("content") if isinstance(token, dict) else source.text(role)
        return self._codec.id_of(text)

    def _automatic_bos(self) -> list[int]:
        if isinstance(self._codec, _Fast) and not _is_llama(self._config):
            return self._codec.automatic_bos()
        adds = self._config.flag("add_bos_token", True)
        return [self.bos_id] if adds and self.bos_id is not None else []


class _Fast:
    """A tokenizer of the tokenizers library, read from a file."""

    def __init__(self, fast: FastTokenizer, file: Path) -> None:
        self._fast = fast
        self._file = file

    def encode(self, text: str) -> list[int]:
        with _foreign(self._file):
            return self._fast.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int], slow: bool) -> str:
        return self._fast.decode(list(ids), skip_special_tokens=True)

    def id_of(self, token: str) -> int | None:
        return self._fast.token_to_id(token)

    def add(self, tokens: Iterable[AddedToken]) -> None:
        self._fast.add_tokens(list(tokens))

    def size(self) -> int:
        return self._fast.get_vocab_size(with_added_tokens=True)

    def automatic_bos(self) -> list[int]:
        """What the post-processor puts before an empty text."""
        with _foreign(self._file):
            return self._fast.encode("", add_special_tokens=True).ids[:1]


class _SentencePiece:
    """A SentencePiece tokenizer.model with the semantics of LlamaTokenizer(legacy=False), or of its fast form.

    One space mark stands before the whole text (add_prefix_space), none before what follows a special token; the
    fast form adds none to a text that begins with a space.
    """

    def __init__(self, file: Path, prefix_space: bool, slow: bool) -> None:
        import sentencepiece  # only checkpoints of VILA1.5 need it

        with _foreign(file):
            self._model = sentencepiece.SentencePieceProcessor(model_proto=read_bytes(file) + _NO_DUMMY_PREFIX)
        self._prefix_space = prefix_space
        self._slow = slow
        self._unknown_pieces = len(self._model.EncodeAsPieces(_UNKNOWN))
        self._added: dict[str, int] = {}
        self._special: set[int] = set()
        self._added_texts: dict[int, str] = {}
        self._pattern = re.compile("(?!)")

    def encode(self, text: str) -> list[int]:
        if not text:
            return []
        text = text.replace(_SPACE, " ")
        if self._prefix_space and (self._slow or not text.startswith(" ")):
            text = _SPACE + text
        runs = [run for run in self._pattern.split(text) if run]
        if len(runs) > 1 and runs[0] == _SPACE and self._added.get(runs[1]) in self._special:
            runs = runs[1:]
        return [id_ for run in runs for id_ in self._encode_run(run)]

    def _encode_run(self, run: str) -> list[int]:
        if run in self._added:
            return [self._added[run]]
        if not run.startswith((_SPACE, " ")):
            return self._model.EncodeAsIds(run)
        # a leading space would be stripped: encode it behind a known text and cut that off
        return self._model.EncodeAsIds(_UNKNOWN + run)[self._unknown_pieces :]

    def decode(self, ids: Sequence[int], slow: bool) -> str:
        text, run = "", list[int]()
        shown = [int(id_) for id_ in ids if not self._is_special(int(id_))]
        for id_ in shown:
            if id_ in self._added_texts:
                text, run = text + self._spell(run, slow) + self._added_texts[id_], []
            else:
                run.append(id_)
        text += self._spell(run, slow)
        return text[1:] if self._prefix_space and text.startswith(" ") else text

    def _spell(self, run: list[int], slow: bool) -> str:
        """Text of pieces. Fast: a run of bytes that is not UTF-8 as a whole becomes a U+FFFD for each."""
        if slow:
            return str(self._model.DecodeIds(run))
        text = ""
        for is_byte, group in groupby(run, key=self._model.IsByte):
            pieces = [self._model.IdToPiece(id_) for id_ in group]
            if not is_byte:
                text += "".join(pieces).replace(_SPACE, " ")
                continue
            data = bytes(int(piece[3:-1], 16) for piece in pieces)  # "<0x0A>"
            try:
                text += data.decode()
            except UnicodeDecodeError:
                text += "\ufffd" * len(data)
        return text

    def _is_special(self, id_: int) -> bool:
        return id_ in self._special or (id_ < self._model.GetPieceSize() and self._model.IsControl(id_))

    def id_of(self, token: str) -> int | None:
        if token in self._added:
            return self._added[token]
        found = self._model.PieceToId(token)
        return found if self._model.IdToPiece(found) == token else None

    def add(self, tokens: Iterable[AddedToken]) -> None:
        for token in tokens:
            known = self.id_of(token.content)
            self._added.setdefault(token.content, self.size() if known is None else known)
            if token.special:
                self._special.add(self._added[token.content])
        longest_first = sorted(self._added, key=len, reverse=True)
        self._pattern = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")
        self._added_texts = {id_: text for text, id_ in self._added.items()}

    def size(self) -> int:
        pieces = self._model.GetPieceSize()
        return max([pieces, *(id_ + 1 for id_ in self._added.values())])


def _open(path: Path, folder: Path, config: JsonObject, slow: bool) -> _Codec:
    """The folder's tokenizer: whichever files it has."""
    file = folder / "tokenizer.json" if path.is_dir() else path
    pieces = folder / "tokenizer.model"
    if is_there(pieces) and (slow or not is_there(file)):
        return _SentencePiece(pieces, config.flag("add_prefix_space", True), slow)
    if is_there(file):
        require_file(file)
        with _foreign(file):
            return _Fast(FastTokenizer.from_file(str(file)), file)
    if is_there(folder / "vocab.json") and "Qwen2" in config.text("tokenizer_class", ""):
        return _Fast(_qwen2(folder), folder / "vocab.json")
    raise CheckpointError(
        f"{folder} holds no tokenizer: expected tokenizer.json, tokenizer.model (SentencePiece), or Qwen2's vocab.json "
        "and merges.txt"
    )


@contextmanager
def _foreign(file: Path) -> Iterator[None]:
    """Name the file in whatever a tokenizer library raises."""
    try:
        yield
    except (ModuleNotFoundError, CheckpointError):
        raise
    except BaseException as err:  # for bad files they raise Exception, errors of C++, and Rust's panics
        if not isinstance(err, Exception) and type(err).__name__ != "PanicException":
            raise
        reason = " ".join(str(err).split())[:300]
        raise CheckpointError(f"the tokenizer {file} cannot be read: {reason}; download it again") from err


def _qwen2(folder: Path) -> FastTokenizer:
    """The fast form of Qwen2's slow tokenizer files."""
    files = [folder / "vocab.json", folder / "merges.txt"]
    for file in files:
        require_file(file)
    with _foreign(files[0]):
        model = models.BPE.from_file(*map(str, files))
    fast = FastTokenizer(model)
    fast.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(_QWEN2_WORDS), behavior="isolated", invert=False)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    fast.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    fast.decoder = decoders.ByteLevel()
    return fast


def _added_tokens(folder: Path, config: JsonObject, codec: _Codec) -> list[AddedToken]:
    """The tokens that tokenizer_config.json or added_tokens.json add, by id; those that the codec has are kept as is.

    Raises CheckpointError if a token's id would not be the one written there.
    """
    names, described = read_json_if_there(folder / "added_tokens.json"), config.object("added_tokens_decoder", {})
    rows = {_token_id(names, token): AddedToken(_token(names, token), special=False) for token in names.raw}
    rows.update({_number(described, key): _added_token(described.object(key)) for key in described.raw})
    size = codec.size()
    for id_, token in sorted(rows.items()):
        known = codec.id_of(token.content)
        if known is None:
            known, size = size, size + 1
        if known != id_:
            source, place = (
                (described, described.path(str(id_)) + ".content") if str(id_) in described.raw else (names, "")
            )
            raise CheckpointError(f"{source.file}: {place} token {token.content!r} should have id {id_}, got {known}")
    keep_as_is = isinstance(codec, _Fast)
    return [row for _, row in sorted(rows.items()) if not keep_as_is or codec.id_of(row.content) is None]


def _token_id(names: JsonObject, token: str) -> int:
    return names.integer(token, least=0, most=MOST_TOKENS)


def _token(names: JsonObject, token: str) -> str:
    """The token, which is a key, if it is one."""
    return JsonObject({"token": token}, names.file).text("token")


def _number(described: JsonObject, key: str) -> int:
    if not re.fullmatch(r"\d{1,8}", key, re.ASCII):
        raise described.wrong(key, "named by a token's id")
    return int(key)


def _added_token(given: JsonObject) -> AddedToken:
    flags = {name: given.flag(name, False) for name in ("special", "lstrip", "rstrip", "single_word", "normalized")}
    content = given.text("content")
    if not content:
        raise given.wrong("content", "a text that is not empty")
    return AddedToken(content, **flags)


def _is_llama(config: JsonObject) -> bool:
    return config.text("tokenizer_class", "") in ("LlamaTokenizer", "LlamaTokenizerFast")


def _clean_up(text: str) -> str:
    """Take out spaces before punctuation, as transformers does where tokenizer_config.json asks for it."""
    pairs = ((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"))
    for before, after in (*pairs, (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")):
        text = text.replace(before, after)
    return text
