"""Who may call the page: by the name that the browser calls it by, where its script came from, and the token."""

from __future__ import annotations

import hmac
import ipaddress
import platform
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from vila_ros.page.config import PageConfig, is_loopback

_TRIES, _TRIES_S = 10, 60.0  # wrong tokens of one address, in so many seconds
_MOST_ADDRESSES = 1000


class Access:
    """Judges requests; without side effects but for counting wrong tokens.

    token: what must be shown, empty if nothing. clock: steady seconds.
    """

    def __init__(self, config: PageConfig, token: str, clock: Callable[[], float]) -> None:
        self._token, self._clock = token.encode(), clock
        self._is_local = is_loopback(config.host)
        own = () if self._is_local else (platform.node(), f"{platform.node()}.local")
        more = (name.strip() for name in config.allowed_hosts.split(","))
        self._names = {name.lower() for name in ("localhost", config.host, *own, *more) if name}
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
        """Return True for the right token, compared in constant time; False for any after too many wrong ones."""
        if not self._token:
            return True
        bucket = self._wrong.get(address)
        if bucket is not None and bucket.is_empty(self._clock()):
            return False
        given = shown.encode("utf-8", "surrogatepass") if isinstance(shown, str) else b""
        if hmac.compare_digest(given, self._token):
            return True
        if bucket is None:
            if len(self._wrong) >= _MOST_ADDRESSES:
                self._wrong.pop(next(iter(self._wrong)))
            bucket = self._wrong[address] = Bucket(_TRIES / _TRIES_S, _TRIES, self._clock())
        bucket.take(self._clock())
        return False


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
