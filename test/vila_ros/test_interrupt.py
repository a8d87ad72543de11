import signal

import pytest

pytest.importorskip("vila_ros")

from vila_ros.interrupt import Interrupt


@pytest.fixture
def interrupt():
    before = signal.getsignal(signal.SIGINT)
    interrupt = Interrupt()
    yield interrupt
    interrupt.close()
    assert signal.getsignal(signal.SIGINT) is before


def test_nothing_is_raised_where_ctrl_c_comes(interrupt) -> None:
    signal.raise_signal(signal.SIGINT)  # as in the middle of a callback
    with pytest.raises(KeyboardInterrupt):
        interrupt.check()
    with pytest.raises(KeyboardInterrupt):
        interrupt.check()


def test_a_second_ctrl_c_ends_a_program_that_does_not_come_to_its_check(interrupt) -> None:
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_without_ctrl_c_the_check_passes(interrupt) -> None:
    interrupt.check()
