"""A socket that listens at an address of this machine."""

from __future__ import annotations

import socket

from vila_core.errors import ConfigError

_BACKLOG = 128


def listen_at(host: str, port: int, what: str) -> socket.socket:
    """Return a socket that listens; port 0 takes one that is free.

    what: is served, for messages. Raises ConfigError if the port is taken, or the address none of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as err:
        why = getattr(err, "strerror", None) or err
        raise ConfigError(f"host = {host!r}: {why}; an address of this machine is needed") from err
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
    except OSError as err:
        bound.close()
        raise ConfigError(
            f"{what} cannot be served at {host} port {port}: {err.strerror}; set `port` to another"
        ) from err
    return bound
