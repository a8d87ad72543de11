import signal

import pytest

pytest.importorskip("vila_ros")

from vila_core.errors import Terminated
from vila_ros.common.interrupt import Interrupt

SIGNALS = ((signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated))
each_signal = pytest.mark.parametrize(("number", "error"), SIGNALS)


@pytest.fixture
def interrupt():
    before = [signal.getsignal(number) for number, _ in SIGNALS]
    interrupt = Interrupt()
    yield interrupt
    interrupt.close()
    assert [signal.getsignal(number) for number, _ in SIGNALS] == before


@each_signal
def test_nothing_is_raised_where_a_signal_comes(interrupt, number, error) -> None:
    interrupt.check()  # nothing has come yet
    signal.raise_signal(number)  # as in the middle of a callback
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt) as raised:
            interrupt.check()
        assert raised.type is error


@each_signal
def test_a_second_one_ends_a_program_that_does_not_come_to_its_check(interrupt, number, error) -> None:
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as raised:
        signal.raise_signal(number)
    assert raised.type is error
