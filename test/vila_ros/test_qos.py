import pytest

pytest.importorskip("rclpy")

from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSReliabilityPolicy
from std_msgs.msg import String

from vila_core.errors import ConfigError
from vila_ros.common.qos import latched_qos, publisher_events, reliable_qos, sensor_qos, subscription_events


def test_profiles() -> None:
    assert sensor_qos().reliability == QoSReliabilityPolicy.BEST_EFFORT and sensor_qos().depth == 1
    assert sensor_qos("reliable").reliability == QoSReliabilityPolicy.RELIABLE
    assert reliable_qos().reliability == QoSReliabilityPolicy.RELIABLE
    assert latched_qos().durability == QoSDurabilityPolicy.TRANSIENT_LOCAL


def test_an_unknown_reliability_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'sometimes'.*best_effort, reliable"):
        sensor_qos("sometimes")


class Talker(Node):
    """A node whose errors are kept."""

    def __init__(self, monkeypatch, **options) -> None:
        super().__init__("talker", **options)
        self.said: list[str] = []
        self._monkeypatch = monkeypatch

    def get_logger(self):
        logger = super().get_logger()
        self._monkeypatch.setattr(type(logger), "error", lambda _, text, **__: self.said.append(text))
        return logger


def test_ends_that_do_not_fit_are_told_on_both_sides(spinner, wait_until, monkeypatch) -> None:
    node = Talker(monkeypatch)
    node.create_publisher(String, "words", sensor_qos(), event_callbacks=publisher_events(node, "words"))
    events = subscription_events(node, "words")
    node.create_subscription(String, "words", lambda _: None, reliable_qos(), event_callbacks=events)
    spinner.add(node)
    wait_until(lambda: len(node.said) >= 2)
    assert sorted(node.said) == [
        "/words: reliability does not fit, no message passes: the publisher /talker offers best_effort, "
        "we ask for reliable; have it publish as reliable",
        "/words: reliability does not fit, no message passes: the subscriber /talker asks for reliable, "
        "we offer best_effort; have it ask for best_effort",
    ]


def test_a_publisher_that_does_not_fit_is_named_with_the_parameter_to_set(spinner, wait_until, monkeypatch) -> None:
    node = Talker(monkeypatch, namespace="/robot")
    driver = spinner.add(Node("driver", namespace="/robot/left"))
    fitting = spinner.add(Node("fitting"))
    driver.create_publisher(String, "/robot/words", sensor_qos())
    fitting.create_publisher(String, "/robot/words", reliable_qos())
    events = subscription_events(node, "words", "words_reliability")
    node.create_subscription(String, "words", lambda _: None, reliable_qos(), event_callbacks=events)
    spinner.add(node)
    wait_until(lambda: node.said)
    assert node.said == [
        "/robot/words: reliability does not fit, no message passes: the publisher /robot/left/driver offers "
        "best_effort, we ask for reliable; set the parameter words_reliability to best_effort"
    ]


def test_durability_that_does_not_fit_is_told_too(spinner, wait_until, monkeypatch) -> None:
    node, listener = Talker(monkeypatch), spinner.add(Node("listener"))
    node.create_publisher(String, "words", reliable_qos(), event_callbacks=publisher_events(node, "words"))
    listener.create_subscription(String, "words", lambda _: None, latched_qos())
    spinner.add(node)
    wait_until(lambda: node.said)
    assert node.said == [
        "/words: durability does not fit, no message passes: the subscriber /listener asks for transient_local, "
        "we offer volatile; have it ask for volatile"
    ]
