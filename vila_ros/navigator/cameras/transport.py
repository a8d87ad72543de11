"""Which of a camera's two topics to take images from, the raw one or the compressed one beside it."""

from __future__ import annotations

from vila_ros.common.topics import AUTO, COMPRESSED, RAW

_PATIENCE = 2  # times in a row that only the other topic is published: both of a driver are not found at one time


class TransportChoice:
    """Chooses by who publishes, if the choice is free; begins with the raw topic. Not thread-safe."""

    def __init__(self, wanted: str) -> None:
        self.is_free = wanted == AUTO
        self.chosen = RAW if self.is_free else wanted
        self._in_vain = 0

    @property
    def other(self) -> str:
        """The transport that is not chosen."""
        return COMPRESSED if self.chosen == RAW else RAW

    def note(self, publishers: int, others: int) -> bool:
        """Take how many publish on the chosen topic and on the other; True if the choice has changed.

        What is chosen stays so as long as anybody publishes it.
        """
        self._in_vain = self._in_vain + 1 if self.is_free and others and not publishers else 0
        if self._in_vain < _PATIENCE:
            return False
        self.chosen, self._in_vain = self.other, 0
        return True

    def take_back(self) -> None:
        """Return to the other topic for good, as the one that was chosen cannot be had."""
        self.chosen, self.is_free = self.other, False
