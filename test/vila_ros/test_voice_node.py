"""The voice's node with ROS and with sound: espeak-ng speaks to it on a topic."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")
pytest.importorskip("pocketsphinx", reason="the extra voice is not installed")

from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String
from vila_nav.action import NavigateInstruction
from vila_nav.msg import AudioChunk, Heard
from vila_nav.srv import CancelInstruction

from vila_core.errors import CheckpointError, ConfigError, MissingDependencyError
from vila_core.voice import recognisers, speakers
from vila_core.voice.speakers import Speaker
from vila_ros.common.qos import reliable_qos
from vila_ros.governor.node import GovernorNode
from vila_ros.navigator.mission.goals import GoalServer, conclude
from vila_ros.voice.node import VoiceNode
from vila_ros.voice.robot import SOURCE

SPEAKS = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed: nobody speaks")
INSTRUCTION = "go to the red table"


class Person(Node):
    """Speaks by a topic, hears by another, and stands in for the navigator."""

    def __init__(self) -> None:
        super().__init__("navigator")
        self.heard: list[Heard] = []
        self.spoken: list[AudioChunk] = []
        self.goals: list = []
        self.canceled: list[object] = []
        self._audio = self.create_publisher(AudioChunk, "voice/audio", reliable_qos(100))
        self.wishes = self.create_publisher(String, "voice/say", reliable_qos())
        self.create_subscription(Heard, "voice/heard", self.heard.append, reliable_qos())
        self.create_subscription(AudioChunk, "voice/speech", self.spoken.append, reliable_qos())
        self.create_service(CancelInstruction, "~/cancel_instruction", self._on_cancel)
        self._server = GoalServer(self, NavigateInstruction, "~/navigate", self.goals.append, lambda _: None)

    def destroy_node(self) -> None:
        self._server.destroy()  # else it stays on the graph
        super().destroy_node()

    def say(self, text: str, rate_hz: int = 16000) -> None:
        """Speak in pieces of a tenth of a second, with silence before and behind."""
        sound = np.concatenate([np.zeros(8000, np.int16), Speaker().speak(text), np.zeros(16000, np.int16)])
        sound = sound + np.random.default_rng(0).normal(0, 20, len(sound)).astype(np.int16)
        if rate_hz != 16000:
            at = np.arange(int(len(sound) * rate_hz / 16000)) * (16000 / rate_hz)
            sound = np.interp(at, np.arange(len(sound)), sound).astype(np.int16)
        for start in range(0, len(sound), rate_hz // 10):
            self._audio.publish(AudioChunk(sample_rate_hz=rate_hz, samples=sound[start : start + rate_hz // 10]))

    def publish(self, message: AudioChunk) -> None:
        self._audio.publish(message)

    def _on_cancel(self, request, response):
        self.canceled.append(request)
        response.success = True
        return response


def parameters(**given: object) -> list[Parameter]:
    return [Parameter(name, value=value) for name, value in ({"source": "topic", "output": "topic"} | given).items()]


@pytest.fixture
def person(spinner) -> Person:
    return spinner.add(Person())


@pytest.fixture
def voice(spinner, person, wait_until) -> Iterator[Callable[..., VoiceNode]]:
    def make(**given: object) -> VoiceNode:
        node = spinner.add(VoiceNode(parameters(**given)))
        node.listen()
        wait_until(lambda: person.count_subscribers("voice/audio") and person.count_publishers("voice/heard"))
        wait_until(lambda: node._robot._navigate.server_is_ready() and node._robot._emergency.has_navigator)
        wait_until(lambda: node.count_subscribers("voice/speech") and node.count_subscribers("voice/heard"))
        return node

    yield make


@SPEAKS
@pytest.mark.parametrize("rate_hz", [16000, 48000])
def test_an_instruction_is_read_back_and_sent(person, voice, wait_until, rate_hz):
    voice(sure_probability=0.5)
    person.say(INSTRUCTION, rate_hz)
    wait_until(lambda: person.goals and person.spoken and person.heard, lambda: str(person.heard))
    goal = person.goals[0].request
    assert (goal.instruction, goal.source) == (INSTRUCTION, SOURCE)
    heard = person.heard[0]
    assert (heard.kind, heard.text) == (Heard.KIND_INSTRUCTION, INSTRUCTION)
    assert 0.5 <= heard.probability <= 1.0 and 0.8 < heard.duration_s < 2.5
    assert person.spoken[0].sample_rate_hz == 16000 and len(person.spoken[0].samples) > 8000


@SPEAKS
@pytest.mark.parametrize(("answer", "goes"), [("yes", True), ("no", False)])
def test_an_unsure_one_waits_for_a_yes(person, voice, wait_until, answer, goes):
    node = voice(sure_probability=1.0)
    person.say(INSTRUCTION)
    wait_until(lambda: len(person.spoken) == 1, lambda: str(person.heard))
    assert not person.goals and node._dialogue.is_asking
    person.say(answer)
    wait_until(lambda: len(person.spoken) == 2, lambda: str(person.heard))
    wait_until(lambda: bool(person.goals) == goes and not node._dialogue.is_asking)


@SPEAKS
@pytest.mark.parametrize("state", ["idle", "asking", "speaking", "driving"])
def test_stop_presses_the_emergency_stop_in_any_state(person, voice, spinner, wait_until, state):
    governor = spinner.add(GovernorNode())
    node = voice(sure_probability=1.0 if state == "asking" else 0.5)
    wait_until(lambda: node._robot._emergency.has_governor)
    if state in ("asking", "driving"):
        person.say(INSTRUCTION)
        wait_until(lambda: node._dialogue.is_asking if state == "asking" else person.goals, lambda: str(person.heard))
    if state == "speaking":
        node._speaks.set()
    person.say("stop")
    wait_until(lambda: governor._governor.emergency == {"service": "the service was called"}, lambda: str(person.heard))
    wait_until(lambda: node._robot._pressed_s is None)  # it knows
    wait_until(lambda: [one for one in person.heard if one.kind == Heard.KIND_STOP])
    assert not node._dialogue.is_asking


@SPEAKS
def test_while_the_robot_speaks_it_obeys_no_instruction(person, voice, wait_until):
    node = voice(sure_probability=0.5)
    node._speaks.set()
    person.say(INSTRUCTION)
    person.say("stop")  # which is heard nevertheless
    wait_until(lambda: person.heard, "nothing was heard")
    node._speaks.clear()
    person.say("never mind")
    wait_until(lambda: len(person.heard) == 2, lambda: str(person.heard))
    assert not person.goals
    assert [one.kind for one in person.heard] == [Heard.KIND_STOP, Heard.KIND_CANCEL]


@SPEAKS
def test_without_a_governor_stop_cancels_and_presses_the_next_one(person, voice, spinner, wait_until):
    voice()
    person.say("stop")
    wait_until(lambda: person.canceled, lambda: str(person.heard))
    governor = spinner.add(GovernorNode())
    wait_until(lambda: governor._governor.emergency)


def test_how_it_ends_is_said_without_the_word(person, spinner, wait_until):
    told: list[str] = []
    node = spinner.add(VoiceNode(parameters()))
    node._robot._tell = told.append
    wait_until(node._robot._navigate.server_is_ready)
    result = NavigateInstruction.Result(outcome=NavigateInstruction.Result.OUTCOME_FAILED, error_code=716)
    result.error_msg = "the emergency stop is pressed; release it"
    for number, outcome in enumerate((result, NavigateInstruction.Result())):
        node._robot.go(INSTRUCTION)
        wait_until(lambda number=number: len(person.goals) == number + 1)
        conclude(person.goals[number], outcome, is_success=bool(number))
        wait_until(lambda number=number: len(told) == number + 1)
    assert told == ["I did not get there: the emergency wait is pressed", "I am there."]


def test_without_a_navigator_it_says_so(ros, spinner):
    told: list[str] = []
    node = spinner.add(VoiceNode(parameters()))
    node._robot._tell = told.append
    node._robot.go(INSTRUCTION)
    assert told == ["I cannot: there is no navigator, or it is not active."]


@SPEAKS
def test_what_others_wish_is_said(person, voice, wait_until):
    voice()
    person.wishes.publish(String(data="hello"))
    wait_until(lambda: person.spoken)


@SPEAKS
def test_sound_that_cannot_be_breaks_nothing(person, voice, wait_until):
    voice(sure_probability=0.5)
    for rate_hz in (0, 1, 2**32 - 1):
        person.publish(AudioChunk(sample_rate_hz=rate_hz, samples=[1, 2, 3]))
    person.publish(AudioChunk(sample_rate_hz=16000))
    person.publish(AudioChunk(sample_rate_hz=44100, samples=[1]))
    person.say(INSTRUCTION)
    wait_until(lambda: person.goals, lambda: str(person.heard))


@SPEAKS
def test_what_cannot_be_used_is_named(ros, tmp_path, monkeypatch):
    def refused(error: type[Exception], match: str, **given: object) -> None:
        node = VoiceNode(parameters(**given))
        with pytest.raises(error, match=match):
            node.listen()
        node.destroy_node()

    refused(CheckpointError, "config.json does not exist", checkpoint=str(tmp_path))
    refused(ConfigError, "wake_word = 'A b'", wake_word="A b")
    refused(ConfigError, "recogniser_model = '/absent'", recogniser_model="/absent")
    with pytest.raises(ConfigError, match="recogniser"):
        VoiceNode(parameters(recogniser="parrot"))
    with pytest.raises(ConfigError, match="set output to none too"):
        VoiceNode(parameters(speaker="none"))
    monkeypatch.setattr(speakers.shutil, "which", lambda _: None)
    refused(MissingDependencyError, "apt-get install espeak-ng")
    monkeypatch.setitem(__import__("sys").modules, "pocketsphinx", None)
    refused(MissingDependencyError, r"pip install '\.\[voice\]'")
    assert recognisers.RECOGNISERS
