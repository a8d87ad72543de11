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


def test_ends_that_do_not_fit_are_told_on_both_sides(spinner, wait_until, monkeypatch) -> None:
    said: list[str] = []

    class Talker(Node):
        def get_logger(self):
            logger = super().get_logger()
            monkeypatch.setattr(type(logger), "error", lambda _, text, **__: said.append(text))
            return logger

    node = Talker("talker")
    node.create_publisher(String, "words", sensor_qos(), event_callbacks=publisher_events(node, "words"))
    events = subscription_events(node, "words")
    node.create_subscription(String, "words", lambda _: None, reliable_qos(), event_callbacks=events)
    spinner.add(node)
    wait_until(lambda: len(said) >= 2)
    assert {"publisher" in text or "subscriber" in text for text in said} == {True}
    assert all("RELIABILITY" in text.upper() and "words" in text for text in said)
