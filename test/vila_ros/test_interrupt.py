import signal

import pytest

pytest.importorskip("vila_ros")

from vila_ros.interrupt import Interrupt


def test_an_interrupt_that_a_callback_swallowed_is_not_lost() -> None:
    before = signal.getsignal(signal.SIGINT)
    interrupt = Interrupt()
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
    finally:
        interrupt.close()
    assert signal.getsignal(signal.SIGINT) is before
