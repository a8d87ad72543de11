"""Who may call a server of ours: by the name that it is called by, where a script came from, and the token."""

from __future__ import annotations

import hmac
import ipaddress
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlsplit

_NAMES_OF_THIS_MACHINE = ("localhost",)
_TRIES, _TRIES_S = 10, 60.0  # wrong tokens of one address, in so many seconds
_MOST_ADDRESSES = 1000


class Access:
    """Judges requests; without side effects but for counting wrong tokens.

    host: the address that is served. allowed_hosts: more names of it, comma separated. tokens: who must show which, by
    a name for each; none if nothing must be shown. clock: steady seconds.
    """

    def __init__(
        self, host: str, allowed_hosts: str, tokens: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tokens, self._clock = {name: token.encode() for name, token in tokens.items()}, clock
        self._is_local = is_loopback(host)
        own = () if self._is_local else (platform.node(), f"{platform.node()}.local")
        more = (name.strip() for name in allowed_hosts.split(","))
        self._names = {name.lower() for name in ("localhost", host, *own, *more) if name}
        self._wrong: dict[str, Bucket] = {}

    def allows_host(self, host: str | None) -> bool:
        """Return True for a Host header that calls us by a name of ours.

        A page of a stranger may have its own name resolve to our address; it cannot make a bare address its own.
        """
        name = _host_name(host)
        if name is None:
            return False
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self._is_local

    def allows_origin(self, origin: str | None, host: str | None) -> bool:
        """Return True if a script that came from us opens the connection: Origin and Host name the same."""
        if origin is None or host is None or not self.allows_host(host):
            return False
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()

    def allows_token(self, shown: object, address: str) -> bool:
        """Return True for a right token, compared in constant time; False for any after too many wrong ones."""
        return self.name_of(shown, address) is not None

    def name_of(self, shown: object, address: str) -> str | None:
        """Return whose token is shown, empty if none is asked for; None as `allows_token` is False."""
        if not self._tokens:
            return ""
        bucket = self._wrong.get(address)
        if bucket is not None and bucket.is_empty(self._clock()):
            return None
        given = shown.encode("utf-8", "surrogatepass") if isinstance(shown, str) else b""
        right = [name for name, token in self._tokens.items() if hmac.compare_digest(given, token)]
        if right:
            return right[0]
        if bucket is None:
            if len(self._wrong) >= _MOST_ADDRESSES:
                self._wrong.pop(next(iter(self._wrong)))
            bucket = self._wrong[address] = Bucket(_TRIES / _TRIES_S, _TRIES, self._clock())
        bucket.take(self._clock())
        return None


class Bucket:
    """Allows so many things a second, and so many at once."""

    def __init__(self, rate_hz: float, most: float, now_s: float) -> None:
        self._rate_hz, self._most = rate_hz, most
        self._left, self._filled_s = most, now_s

    def take(self, now_s: float) -> bool:
        """Return True and count one, if it is allowed now."""
        if self.is_empty(now_s):
            return False
        self._left -= 1.0
        return True

    def is_empty(self, now_s: float) -> bool:
        """Return True if nothing is allowed now."""
        self._left = min(self._most, self._left + (now_s - self._filled_s) * self._rate_hz)
        self._filled_s = now_s
        return self._left < 1.0


def is_loopback(host: str) -> bool:
    """Return True for an address that only this machine reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in _NAMES_OF_THIS_MACHINE


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    """Return the value of a header that is there once; None if it is missing, or there twice, which nobody honest does.

    headers: as ASGI has them, names in small letters.
    """
    found = [value for key, value in headers if key == name]
    return found[0].decode("latin-1") if len(found) == 1 else None


def _host_name(host: str | None) -> str | None:
    """The name in a Host header, without port and brackets; None if it is none."""
    try:
        parts = urlsplit(f"//{host or ''}")
        parts.port  # noqa: B018  # raises for what is no port
    except ValueError:
        return None
    if parts.netloc != host or parts.username is not None or not parts.hostname:
        return None
    return parts.hostname
