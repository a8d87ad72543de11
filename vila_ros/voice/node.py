"""The voice: hears instructions and "stop", reads back, speaks. The robot does not depend on it.

It calls the public action and service of the navigator, and presses the governor's emergency stop.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String
from vila_nav.msg import AudioChunk, Heard

from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.errors import VilaError
from vila_core.voice.dialogue import Cancel, Deed, Dialogue, Press, Say, Send, Utterance
from vila_core.voice.endpoint import SAMPLE_RATE_HZ
from vila_core.voice.listener import Understood, VoiceListener, webrtc_vad
from vila_core.voice.phrases import phrases_for, vocabulary_of
from vila_core.voice.pocketsphinx_recogniser import PocketsphinxRecogniser
from vila_core.voice.recognisers import make_recogniser
from vila_core.voice.speakers import Speaker, resampled
from vila_ros.common.node_main import run_node
from vila_ros.common.parameters import declare, read, refuse_unknown
from vila_ros.common.qos import reliable_qos
from vila_ros.voice.config import NONE, TOPIC, VoiceConfig
from vila_ros.voice.robot import Robot

_MOST_WAITING = 400  # pieces of sound: more than 10 s behind, older ones are lost
_MOST_SAYINGS = 5
_TICK_S = 0.1
_WARN_EVERY_S = 5.0
_RATES_HZ = range(8000, 192001)


class VoiceNode(Node):
    """Publishes what it hears from its making on; `listen` begins to hear and to speak.

    Three threads: sound is understood in one, and spoken in another; the executor's does all else.
    """

    def __init__(self, parameter_overrides: Sequence[Parameter] = ()) -> None:
        self._is_made = False  # it may be destroyed before
        super().__init__("voice", parameter_overrides=list(parameter_overrides))
        refuse_unknown(self, declare(self, VoiceConfig))
        self.config = read(self, VoiceConfig)
        self._dialogue = Dialogue(self.config.dialogue())
        self._sound: queue.Queue[NDArray[np.int16] | None] = queue.Queue(_MOST_WAITING)
        self._sayings: queue.Queue[str | None] = queue.Queue(_MOST_SAYINGS)
        self._understood: queue.Queue[tuple[Understood, float]] = queue.Queue()
        self._speaks = threading.Event()  # while the robot itself is heard
        self._threads: list[threading.Thread] = []
        self._microphone: Any = None
        self._heard = self.create_publisher(Heard, "~/heard", reliable_qos())
        self._speech = self.create_publisher(AudioChunk, "~/speech", reliable_qos())
        self._robot = Robot(self, self.say)
        self.create_subscription(String, "~/say", lambda message: self.say(message.data), reliable_qos())
        self.create_subscription(AudioChunk, "~/audio", self._on_audio, reliable_qos(100))
        self._guard = self.create_guard_condition(self._on_understood)
        self.create_timer(_TICK_S, self._on_tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._is_made = True

    def listen(self) -> None:
        """Begin to hear and to speak.

        Raises ConfigError for what cannot be used, CheckpointError for a model whose words are not known,
        MissingDependencyError without the libraries of the extra `voice` or the program that speaks.
        """
        config = self.config
        checkpoint = Path(config.checkpoint) if config.checkpoint else EMBEDDED_CHECKPOINT
        phrases = phrases_for(vocabulary_of(checkpoint), wake_word=config.wake_word)
        stops = PocketsphinxRecogniser(phrases)
        model = Path(config.recogniser_model) if config.recogniser_model else None
        plain = config.recogniser == "pocketsphinx" and model is None
        recogniser = stops if plain else make_recogniser(config.recogniser, phrases, model)
        listener = VoiceListener(phrases, recogniser, stops, webrtc_vad())
        speaker = (
            None if config.speaker == NONE else Speaker(config.speaker, config.speaker_voice, config.speaker_speed)
        )
        if config.source != TOPIC:
            from vila_ros.voice.sound_card import open_microphone

            self._microphone = open_microphone(config.device, self._put)
        for work, argument in ((self._understand, listener), (self._speak, speaker)):
            self._threads.append(threading.Thread(target=work, args=(argument,), daemon=True))
            self._threads[-1].start()
        self.get_logger().info(f"listening; {len(phrases.words)} words")

    def say(self, text: str) -> None:
        """Speak a text after those that wait; in any thread. Of too many that wait the newest are lost."""
        try:
            self._sayings.put_nowait(text)
        except queue.Full:
            self.get_logger().warning(f"not said, as too much waits: {text!r}", throttle_duration_sec=_WARN_EVERY_S)

    def destroy_node(self) -> None:
        """End the threads, then leave the graph."""
        if self._is_made:
            self._is_made = False
            if self._microphone is not None:
                self._microphone.close()
            for waiting in (self._sound, self._sayings):
                _put_newest(waiting, None)
            for thread in self._threads:
                thread.join(5.0)
            self._robot.destroy()
        super().destroy_node()

    # --- sound in --------------------------------------------------------------------------------

    def _on_audio(self, message: AudioChunk) -> None:
        if self.config.source != TOPIC:
            return
        if message.sample_rate_hz not in _RATES_HZ:
            warning = f"~/audio: sample_rate_hz = {message.sample_rate_hz}: must be 8000 to 192000"
            self.get_logger().warning(warning, throttle_duration_sec=_WARN_EVERY_S)
            return
        self._put(resampled(np.asarray(message.samples, np.int16), message.sample_rate_hz))

    def _put(self, samples: NDArray[np.int16]) -> None:
        if _put_newest(self._sound, samples):
            self.get_logger().warning("sound was lost: this machine is too slow", throttle_duration_sec=_WARN_EVERY_S)

    def _understand(self, listener: VoiceListener) -> None:
        while (samples := self._sound.get()) is not None:
            for one in listener.put(samples, only_stop=self._speaks.is_set()):
                self._understood.put((one, time.monotonic() - one.ended_s))
                self._guard.trigger()

    # --- what follows ----------------------------------------------------------------------------

    def _on_understood(self) -> None:
        while not self._understood.empty():
            one, ended_s = self._understood.get()
            said = Utterance(one.text, one.meaning, one.probability, time.monotonic())
            self._do(self._dialogue.hear(said))  # before anything else: it may be a stop
            ended = self.get_clock().now() - Duration(seconds=time.monotonic() - ended_s)
            message = Heard(kind=one.meaning.value, text=one.text)
            message.header.stamp = ended.to_msg()
            message.probability, message.duration_s = float(one.probability), float(one.duration_s)
            self._heard.publish(message)

    def _on_tick(self) -> None:
        if self._speaks.is_set() or not self._sayings.empty():
            self._dialogue.asked_aloud(time.monotonic())
        self._do(self._dialogue.tick(time.monotonic()))

    def _do(self, deeds: Sequence[Deed]) -> None:
        for deed in deeds:
            match deed:
                case Press():
                    self._robot.press()
                    self.get_logger().warning('emergency stop: somebody said "stop"')
                case Say(text):
                    self.say(text)
                case Send(text):
                    self._robot.go(text)
                case Cancel():
                    self._robot.cancel()

    # --- sound out -------------------------------------------------------------------------------

    def _speak(self, speaker: Speaker | None) -> None:
        while (text := self._sayings.get()) is not None:
            self.get_logger().info(f"says: {text}")
            if speaker is None or self.config.output == NONE:
                continue
            try:
                sound = speaker.speak(text)
                self._speaks.set()
                self._put_out(sound)
            except VilaError as err:
                self.get_logger().error(str(err), throttle_duration_sec=_WARN_EVERY_S)
            finally:
                self._speaks.clear()

    def _put_out(self, sound: NDArray[np.int16]) -> None:
        if self.config.output == TOPIC:
            message = AudioChunk(sample_rate_hz=SAMPLE_RATE_HZ, samples=sound)
            message.header.stamp = self.get_clock().now().to_msg()
            self._speech.publish(message)
            return
        from vila_ros.voice.sound_card import play

        play(sound, self.config.device)


def _put_newest(waiting: queue.Queue[Any], one: object) -> bool:
    """Put one into a queue, in the place of the oldest if it is full; returns True if that was so."""
    is_full = False
    while True:
        try:
            waiting.put_nowait(one)
        except queue.Full:
            is_full = True
            try:
                waiting.get_nowait()
            except queue.Empty:
                continue
        else:
            return is_full


def make_node() -> Node:
    """Make the node, and listen."""
    node = VoiceNode()
    try:
        node.listen()
    except BaseException:
        node.destroy_node()
        raise
    return node


def main() -> int:
    """Listen until told to end."""
    return run_node(make_node, "voice")


if __name__ == "__main__":
    sys.exit(main())
