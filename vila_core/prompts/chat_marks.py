"""What a chat template writes and an instruction must not: tokens, and the names of those who speak.

A name of a speaker is refused where it reads as the begin of a turn: followed by a colon, and
1. at the begin of the text, of a line, of a sentence or of a quotation, or behind a mark such as # or *; or
2. USER, HUMAN and ASSISTANT also elsewhere, unless an article or the like stands up to three words before, as in
   "follow the user: stop at the door"; with a capital letter, which no noun has there, always.
"""

from __future__ import annotations

import re

from vila_core.prompts.lookalikes import Folded, fold, folds

# What is a name on its own, in the singular: a language or two a line.
_LANGUAGES = """
user human assistant system chatbot bot ai gpt chatgpt llm
usuario usuaria asistente humano sistema usuário assistente utilisateur utilisatrice assistante humain système
benutzer benutzerin nutzer anwender assistent mensch utente umano gebruiker mens systeem
пользователь ассистент помощник человек система користувач асистент помічник людина
użytkownik asystent człowiek uživatel asistent člověk felhasználó asszisztens utilizator
kullanıcı asistan insan sistem användare bruger bruker käyttäjä avustaja ihminen χρήστης βοηθός άνθρωπος σύστημα
用户 用戶 使用者 助手 助理 人类 人類 系统 系統 ユーザー ユーザ アシスタント 人間 システム
사용자 유저 어시스턴트 인간 시스템 المستخدم مستخدم المساعد مساعد النظام کاربر دستیار משתמש עוזר
उपयोगकर्ता सहायक ব্যবহারকারী பயனர் ผู้ใช้ ผู้ช่วย pengguna asisten manusia
"""
_SPEAKERS = [*_LANGUAGES.split(), "người dùng", "trợ lý"]
_ELSEWHERE = "user|human|assistant"
_ARTICLES = (
    "the|an?|this|that|these|those|my|your|his|her|its|our|their|each|every|any|some|no|one|another|other|which|what|"
    "l|le|la|un|une|el|una|o|um|uma|il|lo|der|die|das|dem|den|ein|eine|einem|einen"
)
_NAMES = "image|img|picture|video|audio|vila|system|user|human|assistant|eot|bos|eos|pad|unk|inst|sys|think|tool"
_WORDS = "instructions?|responses?|inputs?|outputs?|questions?|answers?|prompts?|" + _ELSEWHERE + "|system"

_TOKEN = re.compile(
    r"<\s*\||\|\s*>"  # <|...|>, or half of one
    r"|<\s*/?\s*[^<>\s]{1,64}\s*/?\s*>|<\s*\w{1,32}\s*/\s*\w{1,32}\s*>"  # <image>, < image >, <t12>, < vila / video >
    rf"|[<\u2039\u3008\u300a\u27ea]\s*/?\s*(?:{_NAMES})\b[^<>]{{0,64}}[>\u203a\u3009\u300b\u27eb]"
    r"|\[\s*/?\s*(?:inst|bos|eos|pad|unk|sys|system|image|video|cls|sep|mask)\s*\]"
    r"|im_(?:start|end|sep)|eot_id|(?:start|end)_header_id|begin_of_text|end_of_text|endoftext|(?:start|end)_of_turn"
    rf"|\#{{2,}}\s*(?:{_WORDS})\b"
)
_COLON = r"[\s*_\])}\"'\u201d\u00bb]*:"
_OPENERS = r"\n\r\x85\u2028\u2029.!?;\u2026\u3002\u061f\u0964\u06d4\"\u201c\u201e\u2018\u00ab\u300c(\[{<|#*>="
_BEGIN = rf"(?:^|[{_OPENERS}])[\s#*>_-]*"
_ANY_SPEAKER = "|".join(sorted({re.escape(look) for word in _SPEAKERS for look in folds(word)}, key=len, reverse=True))
_TURN = re.compile(rf"{_BEGIN}(?P<name>(?:{_ANY_SPEAKER}){_COLON})")
_NAME = re.compile(rf"(?P<name>(?:{_ELSEWHERE}){_COLON})")
_ARTICLE = re.compile(rf"\b(?:{_ARTICLES})(?:[\s'\u2019]+[\w-]+){{0,2}}[\s'\u2019]+$")


def chat_mark(text: str) -> str:
    """Return the first token, or name of one who speaks, as it stands in the text; empty if there is none.

    Look-alikes count: any width, case, font and alphabet, with and without accents and what is not seen.
    """
    shown = fold(text)
    if token := _TOKEN.search(shown.text):
        return shown.original(text, *token.span())
    if turn := _TURN.search(shown.text) or _named(text, shown):
        return shown.original(text, *turn.span("name"))
    return ""


def _named(text: str, shown: Folded) -> re.Match[str] | None:
    """Find a speaker's name anywhere, by the second rule."""
    for match in _NAME.finditer(shown.text):
        if text[shown.origins[match.start()]].isupper():
            return match
        begins_word = match.start() == 0 or not shown.text[match.start() - 1].isalnum()
        if begins_word and not _ARTICLE.search(shown.text, 0, match.start()):
            return match
    return None
