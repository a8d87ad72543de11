"""Everything that this package raises on purpose. A message names the value and the remedy."""

from __future__ import annotations


class VilaError(Exception):
    """Base of all errors of this package."""


class ConfigError(VilaError):
    """An unknown key or an impossible value in a configuration."""


class CheckpointError(VilaError):
    """A checkpoint that cannot be read, or whose tensors do not fit its configuration."""


class InstructionError(VilaError):
    """An empty, over-long or malformed instruction."""


class FrameError(VilaError):
    """An image that cannot be used: wrong encoding, shape, stamp or content."""


class MediaError(VilaError):
    """An image or video file that cannot be read whole."""


class CutMediaError(MediaError):
    """A bag that ends too early; what is in front of that could be read."""


class QueryError(VilaError):
    """A question about time that cannot be asked: empty, one too many, unknown, or about a time without images."""


class QueryLimitError(QueryError):
    """One standing query, or one waiting question, more than there may be."""


class UnknownQueryError(QueryError):
    """The id of a query that does not stand."""


class UnknownCameraError(QueryError):
    """The name of a camera that there is not."""


class RangeError(QueryError):
    """A time range that is reversed, outside what is remembered, or without enough images."""


class NoImagesError(QueryError):
    """A question about the past where nothing was seen yet."""


class UnsupportedQueryError(QueryError):
    """A question of a kind that the loaded model cannot be asked."""


class WayError(VilaError, LookupError):
    """A time, or a driven way to a place, that is not remembered; or a way that the robot has left."""


class ReplyError(VilaError):
    """A model reply that is not one of the sentences of the grammar."""


class BackendError(VilaError):
    """An inference backend that cannot be loaded or failed."""


class RemoteError(BackendError):
    """A model on another machine that did not answer as it should; each kind below is one reason."""


class RemoteUnreachableError(RemoteError):
    """Nothing answers there, or the connection broke before the answer began."""


class RemoteTimeoutError(RemoteError):
    """The answer was not there, whole, when its time was over."""


class RemoteBusyError(RemoteError):
    """The server has no room for the request now."""


class RemoteRefusedError(RemoteError):
    """The server refuses the request or the token."""


class RemoteReplyError(RemoteError):
    """An answer that was cut, is no JSON, or lacks what it must hold."""


class RemoteModelError(RemoteError):
    """Another model answers than the one that was loaded."""


class OutputError(VilaError):
    """What a program writes, a file or its standard output, that cannot be written: no space, a limit, read-only."""


class WorldError(VilaError):
    """A simulated world that cannot be built, or a target that it does not hold."""


class WorkerError(VilaError):
    """Worker processes that end again and again, while they start or with the same job."""


class MissingDependencyError(VilaError):
    """An optional library is not installed; the message says how to install it."""


class NotFiniteError(BackendError):
    """A model that computes NaN or infinity; the message names the stage where it began."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a program as Ctrl-C does, so it is no VilaError either; only the exit status differs."""
