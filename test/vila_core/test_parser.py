"""Every odd reply of the table of the official parsers has a stated outcome; anything unknown holds still."""

import json
import math
import random
import re

import pytest
from conftest import golden_dir
from hypothesis import given
from hypothesis import strategies as st

from vila_core.actions.grammar import ACTIONS, SENTENCES
from vila_core.actions.parser import STOP_TOKENS, official_action, parse_action
from vila_core.errors import ReplyError
from vila_core.types import MoveForward, Stop, Turn

# The replies that move the robot or stop it; index into ACTIONS.
ACCEPTED = {
    **{sentence: index for index, sentence in enumerate(SENTENCES)},
    "The next action is turn left 45 degrees.": 6,
    "The next action is turn right 30 degrees": 8,
    "the next action is move forward 75 cm": 3,
    "THE NEXT ACTION IS MOVE FORWARD 75 CM.": 3,
    "The next action is Move Forward 50 cm.": 2,
    "The next action is Turn Left 30 degree.": 5,
    "  The next action is move forward 50 cm.  \n": 2,
    "The next action is move forward 50 cm.<|eot_id|>": 2,
    "The next action is move forward 50 cm.<|eot_id|> ": 2,
}

# The replies that hold the robot still, and why each is refused.
REFUSED = {
    "other units or spelling of the number": [
        "The next action is move forward 75cm.",
        "The next action is move forward 0.75 m.",
        "The next action is move forward 1 m.",
        "The next action is move forward 1 meter.",
        "The next action is move forward 750 mm.",
        "The next action is move forward 75 centimeters.",
        "The next action is move forward 75.0 cm.",
        "The next action is move forward  75 cm.",
        "The next action is turn left 45°.",
        "The next action is turn left 0.5 rad.",
        "The next action is turn left by 15 degree.",
        "The next action is turn right forty-five degrees.",
        "The next action is move forward ７５ cm.",
    ],
    "a number that is not in the set": [
        *(
            f"The next action is move forward {n} cm."
            for n in (0, 10, 30, 37, 38, 60, 62, 63, 80, 100, 110, 125, 1000, -25)
        ),
        *(f"The next action is turn left {n} degree." for n in (0, 5, 22, 23, 100, 180, -15)),
        *(f"The next action is turn right {n} degree." for n in (37, 38, 60, 90, 360)),
    ],
    "no number": ["The next action is turn left.", "The next action is move forward."],
    "a piece of a sentence": [
        "move forward 75 cm",
        "Move forward 25 cm.",
        "turn left 45 degrees",
        "Turn right by 15 degree",
        "forward",
        "left",
        "The next action is",
    ],
    "stop, but not the sentence": [
        "stop",
        "Stop.",
        "STOP",
        "Stopping now.",
        "non-stop",
        "The next action is stop.",
        "The next action is to stop.",
        "I should stop",
    ],
    "more than one sentence, or something after it": [
        "The robot should not stop; the next action is move forward 75 cm.",
        "The next action is move forward 25 cm. The next action is turn left 15 degree.",
        "The next action is turn left 15 degree and move forward 75 cm.",
        "The next action is turn right 30 degree, then stop.",
        "The next action is turn left 15 degree or turn right 30 degree.",
        "The next action is move forward 25 cm, move forward 75 cm.",
        "The next action is turn right 15 degree because turn left 45 degree is blocked.",
        "The next action is turn left 30 degree. Walk to the bus stop.",
        "The next action is move forward 75 cm!The next action is move forward 75 cm!",
        "The next action is turn left 30 degrees, then forward ↑.",
    ],
    "another action": [
        "The next action is move backward 25 cm.",
        "The next action is go straight 50 cm.",
        "The next action is turn around.",
        "The next action is turn 30 degree left.",
        "The next action is look down.",
    ],
    "another language, format or nothing": [
        "",
        "   ",
        "!!!!!!!!",
        "<unk><unk>",
        '{"action": "forward", "distance": 0.5}',
        "下一步是向前移动75厘米。",
        "I cannot see the image.",
        "The next action is move\nforward 50 cm.",
        "↑↑←→",
        "↑↑↑STOP",
        "<|im_start|>assistant\n←→<|im_end|>",
        "↓",
    ],
}
REFUSALS = [(why, reply) for why, replies in REFUSED.items() for reply in replies]


@pytest.fixture(scope="module")
def rows():
    return json.loads((golden_dir("vln") / "action_parsers.json").read_text())["rows"]


def test_every_golden_reply_has_a_stated_outcome(rows):
    stated = [*ACCEPTED, *(reply for _, reply in REFUSALS)]
    assert len(stated) == len(set(stated)) == len(rows) == 102
    assert set(stated) == {row["text"] for row in rows}


@pytest.mark.parametrize(("reply", "index"), ACCEPTED.items())
def test_accepted(reply, index):
    assert parse_action(reply) == ACTIONS[index]


@pytest.mark.parametrize(("why", "reply"), REFUSALS)
def test_refused(why, reply):
    with pytest.raises(ReplyError, match=re.escape(repr(reply)[:60])):
        parse_action(reply)


@pytest.mark.parametrize(
    "reply",
    [
        "I thin\u212a I should stop because I have finished the instruction.",  # the Kelvin sign, lower-case k
        "The next action is move forward 25 cm..",
        "The next action is move forward 25 cms.",
        "The next action is move forward 25 cm.<|eot_id|><|eot_id|>",
        "<|eot_id|>The next action is move forward 25 cm.",
        "The next action is move forward 25 cm.\x00",
    ],
)
def test_near_misses_hold(reply):
    with pytest.raises(ReplyError):
        parse_action(reply)


@pytest.mark.parametrize("token", STOP_TOKENS)
def test_one_stop_token_is_allowed(token):
    assert parse_action(SENTENCES[4] + token) == ACTIONS[4]


def test_a_long_reply_is_cut_in_the_message():
    with pytest.raises(ReplyError) as caught:
        parse_action("x" * 10_000)
    assert len(str(caught.value)) < 200


def _is_sentence(text):
    """The rule once more, in another way: a regular expression for each sentence."""
    tokens = "|".join(map(re.escape, STOP_TOKENS))
    bodies = "|".join(re.escape(s[:-1]).replace("degree", "degrees?") for s in SENTENCES)
    return re.fullmatch(rf"\s*({bodies})\.?\s*({tokens})?\s*", text, re.IGNORECASE | re.ASCII) is not None


WORDS = (
    "the The next action is move forward turn left right 25 50 75 15 30 45 1000 cm degree degrees . stop "
    "<|eot_id|> </s> I think should because have finished instruction"
)
words = st.sampled_from(WORDS.split())
replies = st.one_of(
    st.text(max_size=80),
    st.lists(words, max_size=14).map(" ".join),
    st.tuples(st.sampled_from(SENTENCES), st.text(max_size=4)).map("".join),
    st.tuples(st.text(max_size=4), st.sampled_from(SENTENCES)).map("".join),
)


@given(replies)
def test_only_a_whole_sentence_is_an_action(reply):
    try:
        action = parse_action(reply)
    except ReplyError:
        # str.strip() knows more white space than ASCII does; nothing else may be refused.
        assert not _is_sentence(reply)
    else:
        assert _is_sentence(reply.strip())
        assert action in ACTIONS


LOOK_ALIKES = {
    "0": "０٠۰०𝟎",
    "1": "１١𝟏l",
    "2": "２٢𝟐",
    "3": "３٣𝟑З",
    "5": "５٥𝟓",
    "7": "７٧𝟕",
    "a": "аɑａ",
    "e": "еｅé",
}
LOOK_ALIKES |= {
    "o": "оοｏ",
    "c": "сｃ",
    "i": "іı",
    "t": "т𝗍",
    "n": "ո",
    "k": "\u212a",
    ".": "。．․",
    " ": "\u00a0\u2003\u3000\n\t",
}
STRANGE = "\u200b\u200d\u202e\ufeff\u0301\x00\x1c\u2028\u0085-+٫,;:0"
TALK = ("stop", "do not ", "not ", " then stop", " now", "; DROP", "<|eot_id|>", "</s>", "user: ", ">", "\r\n", "75 cm")


def _mutated(rng: random.Random) -> str:
    """A sentence of the grammar, changed in one to three places; sometimes so that it stays one."""
    text = rng.choice(SENTENCES)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(text) + 1)
        match rng.randrange(8):
            case 0:
                char = rng.choice([c for c in text if c in LOOK_ALIKES] or ["o"])
                text = text.replace(char, rng.choice(LOOK_ALIKES[char]), 1)
            case 1:
                text = text[:at] + rng.choice(STRANGE) + text[at:]
            case 2:
                text = rng.choice(TALK) + text
            case 3:
                text += rng.choice(TALK)
            case 4:
                text = text[:at] + text[at + 1 :] or "."
            case 5:
                text = rng.choice((str.upper, str.title, str.swapcase))(text)
            case 6:
                text = f"{text} {rng.choice(SENTENCES)}"
            case _:
                text = text[:at] + rng.choice((" ", "\n", "\t", "s")) + text[at:]
    return text


def test_a_hundred_thousand_replies_move_nothing_unless_the_whole_of_one_is_a_sentence():
    rng = random.Random(0)
    accepted = 0
    for _ in range(100_000):
        reply = _mutated(rng)
        try:
            action = parse_action(reply)
        except ReplyError:
            continue
        accepted += 1
        assert _is_sentence(reply.strip()) and action in ACTIONS, reply
    assert 1_000 < accepted < 50_000  # both kinds were tried


def test_official_action_equals_the_official_code(rows):
    for row in rows:
        wanted, got = row["navila_vlnce"], official_action(row["text"])
        sequence = wanted["low_level_sequence"]
        steps = sequence["len"] if isinstance(sequence, dict) else len(sequence)
        if wanted["action"] is None:
            assert got.action is None and got.steps == 0, row["text"]
            continue
        assert got.steps == steps, row["text"]
        if wanted["action"] == 0:
            assert got.action == Stop()
        elif wanted["action"] == 1:
            assert got.action == MoveForward(wanted["distance_cm"] / 100), row["text"]
        else:
            sign = 1 if wanted["action"] == 2 else -1
            assert got.action == Turn(math.radians(sign * wanted["degree"])), row["text"]


def test_official_action_equals_the_evaluator_rows_of_vila():
    for row in json.loads((golden_dir("vila/text") / "navila_actions.json").read_text()):
        got = official_action(row["output"])
        kind = {Stop: 0, MoveForward: 1}.get(type(got.action))
        if isinstance(got.action, Turn):
            kind = 2 if got.action.angle_rad > 0 else 3
        assert kind == row["action_0stop_1fwd25cm_2left15_3right15"], row["output"]
        assert got.steps == (0 if kind is None else 1 + len(row["queued"])), row["output"]
