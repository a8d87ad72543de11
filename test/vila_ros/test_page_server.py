"""The page's server as browsers and attackers meet it, with what it hands requests to replaced by lists."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets.sync.client")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from vila_core.errors import ConfigError
from vila_core.web.access import Access
from vila_core.web.guard import SECURITY_HEADERS
from vila_ros.page.board import Board
from vila_ros.page.browser_requests import Ask, Cancel, Go, Unwatch, Watch
from vila_ros.page.config import PageConfig
from vila_ros.page.deadman import Deadman
from vila_ros.page.pictures import Picture, Pictures
from vila_ros.page.server import STATIC, PageServer, Site, make_app

TOKEN = "a-secret-of-many-letters"
FILES = ["/", "/connection.js", "/drawing.js", "/icon.svg", "/page.css", "/page.js"]


@dataclass
class Asked:
    """Stands for the robot: keeps what it is asked for."""

    commands: list[object] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)

    def submit(self, command: object) -> bool:
        self.commands.append(command)
        return True

    def press(self, who: str) -> None:
        self.stops.append("press")

    def release(self) -> None:
        self.stops.append("release")

    def explain(self, decision: str) -> None:
        self.commands.append(decision)


class Served:
    """A running server, and clients of it."""

    def __init__(self, config: PageConfig, token: str = "") -> None:
        self.asked, self.board, self.pictures = Asked(), Board(), Pictures()
        self.deadman = Deadman(config.deadman_timeout_s)
        access = Access(config.host, config.allowed_hosts, {"page": token} if token else {}, time.monotonic)
        site = Site(
            config,
            access,
            self.board,
            self.pictures,
            self.asked,  # type: ignore[arg-type]
            self.asked,  # type: ignore[arg-type]
            self.deadman,
            lambda: {"now_s": 1.0, "silent_s": {}},
            self.asked if config.explain else None,  # type: ignore[arg-type]
        )
        self.server = PageServer(site)
        self.port = self.server.port
        self.server.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def get(self, path: str = "/", method: str = "GET", body: bytes | None = None, **headers: str):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, data

    @contextmanager
    def open(self, path: str = "/view", token: str | None = "", **options: Any) -> Iterator[ClientConnection]:
        options = {"origin": f"http://{self.host}", "open_timeout": 20, "compression": None, "max_size": None} | options
        with connect(f"ws://{self.host}{path}", **options) as client:
            if token is not None:
                client.send(json.dumps({"do": "hello", "token": token} if token else {"do": "hello"}))
            yield client


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served(PageConfig(port=0))
    yield served
    served.server.stop()


@pytest.fixture
def guarded() -> Iterator[Served]:
    """One that other machines reach, and that asks for a token."""
    served = Served(PageConfig(host="0.0.0.0", port=0, generate_token=True), TOKEN)
    yield served
    served.server.stop()


def say(client: ClientConnection, **request: object) -> None:
    client.send(json.dumps(request))


def hear(client: ClientConnection) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The next update and its pictures."""
    data = client.recv(timeout=20)
    assert isinstance(data, bytes)
    length = struct.unpack(">I", data[:4])[0]
    update, rest, pictures = json.loads(data[4 : 4 + length]), data[4 + length :], {}
    for picture in update["pictures"]:
        pictures[picture["name"]], rest = rest[: picture["bytes"]], rest[picture["bytes"] :]
    assert not rest
    return update, pictures


def seen(client: ClientConnection, update: dict[str, Any]) -> None:
    say(client, do="seen", number=update["number"])


def closed_with(client: ClientConnection) -> int:
    """The code with which the server closes."""
    with pytest.raises(ConnectionClosed) as closed:
        for _ in range(1000):
            client.recv(timeout=20)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES)
def test_each_file_comes_with_its_type_and_what_browsers_may_do(served, path):
    status, headers, data = served.get(path)
    assert status == 200 and data == (STATIC / (path[1:] or "index.html")).read_bytes()
    assert headers.items() >= SECURITY_HEADERS.items()
    assert re.match("text/html|text/javascript|text/css|image/svg", headers["content-type"])
    assert "server" not in headers and "set-cookie" not in headers and "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/../node.py",
            "/..%2fnode.py",
            "/%2e%2e/node.py",
            "/static/page.js",
            "//etc/passwd",
            "/docs",
            "/openapi.json",
        ),
        *("/page.js/", "/?url=http://evil.example", "/view", "/stop", "/" + "x" * 5000),
    ],
)
def test_nothing_else_is_served(served, path):
    status, headers, data = served.get(path)
    assert status in (404, 307) or (path.startswith("/?") and data == (STATIC / "index.html").read_bytes())
    assert headers.items() >= SECURITY_HEADERS.items() and b"def " not in data and b"root:" not in data


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_nothing_is_done_by_http(served, method):
    """So no form and no script of a stranger's page does anything by a request that carries no token."""
    status, headers, _ = served.get("/", method=method, body=b"do=press" if method == "POST" else None)
    assert status == 405 and headers.items() >= SECURITY_HEADERS.items() and not served.asked.stops


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:80", "", "user@localhost"])
def test_a_name_that_is_not_ours_is_refused(served, host):
    status, headers, data = served.get(Host=host)
    assert status in (400, 421) and b"<html" not in data
    assert status == 400 or headers.items() >= SECURITY_HEADERS.items()


def test_a_head_that_is_too_long_is_refused(served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        with suppress(OSError):  # it does not read them all
            raw.sendall(b"y" * 20_000_000)
        with suppress(ConnectionResetError):
            assert not raw.recv(100).startswith(b"HTTP/1.1 2")


def test_what_is_no_http_harms_nobody(served):
    for rubbish in (b"\x00" * 1000, b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET / HTTP/9\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as raw:
            raw.sendall(rubbish)
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(1000):
                pass
    assert served.get()[0] == 200


def test_what_an_editor_leaves_beside_the_page_is_not_served(tmp_path, monkeypatch):
    folder = tmp_path / "static"
    shutil.copytree(STATIC, folder)
    (folder / "page.css.orig").write_text("left over")
    monkeypatch.setattr("vila_ros.page.server.STATIC", folder)
    paths = {route.path for route in make_app(None).routes}
    assert "/" in paths and "/page.css" in paths and not any("orig" in path for path in paths)


DANGEROUS = (
    *("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc", "DOMParser"),
    *('setTimeout("', "fetch(", "XMLHttpRequest", "importScripts", "@import", "javascript:"),
)


def test_no_script_makes_html_of_text_or_code_of_it_and_nothing_comes_from_elsewhere():
    for file in STATIC.iterdir():
        text = file.read_text()
        for word in DANGEROUS:
            assert word not in text, f"{file.name}: {word}"
        addresses = set(re.findall(r"(?:https?:)?//[\w.]+", text)) - {"http://www.w3.org"}
        comments = {match for match in addresses if match.startswith("//")}
        assert not addresses - comments, f"{file.name}: {addresses}"
        if file.suffix == ".html":
            assert not re.search(r"\son\w+=|\sstyle=|<style|<script>", text)


# --- sockets: who may open one -------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/view", "/stop"])
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1", "https://127.0.0.1.evil.example", "null", None]
)
def test_a_script_from_elsewhere_opens_no_socket(served, path, origin):
    with pytest.raises(InvalidStatus) as refused, served.open(path, origin=origin):
        pass
    assert refused.value.response.status_code == 403


def test_a_strangers_page_whose_name_resolves_to_us_opens_no_socket(served):
    with (
        pytest.raises(InvalidStatus) as refused,
        served.open(origin="http://evil.example", additional_headers={"Host": "evil.example"}),
    ):
        pass
    assert refused.value.response.status_code in (400, 403)


@pytest.mark.parametrize("path", ["/view", "/stop"])
@pytest.mark.parametrize("token", ["wrong", TOKEN[:-1], ""])
def test_a_wrong_token_opens_nothing(guarded, path, token):
    guarded.board.put("secret", 1)
    with guarded.open(path, token) as client:
        assert closed_with(client) == 4401
    with guarded.open(path, None) as client:
        say(client, do="press")
        assert closed_with(client) == 4401
    assert not guarded.asked.stops


def test_the_right_token_opens_and_guesses_are_limited(guarded):
    with guarded.open(token=TOKEN) as client:
        assert hear(client)
    for number in range(10):
        with guarded.open(token=f"guess {number}") as client:
            assert closed_with(client) == 4401
    with guarded.open(token=TOKEN) as client:
        assert closed_with(client) == 4401


def test_who_says_nothing_is_cut_off(guarded):
    with guarded.open("/view", None) as client:
        assert closed_with(client) == 4401


# --- sockets: what is said -----------------------------------------------------------------------


def test_each_command_reaches_the_robot(served, wait_until):
    with served.open() as client:
        say(client, do="go", text="to the red chair")
        say(client, do="cancel")
        say(client, do="watch", text="the door opens")
        say(client, do="unwatch", query_id="q1")
        say(client, do="ask", text="the ball is in view")
        wanted = [Go("to the red chair"), Cancel(), Watch("the door opens"), Unwatch("q1"), Ask("the ball is in view")]
        wait_until(lambda: served.asked.commands == wanted)


@pytest.mark.parametrize("message", ["{", '{"do": "press"}', '{"do": "go", "text": 7}', '{"do": "fly"}', b"go"])
def test_what_is_no_request_ends_the_connection(served, message):
    with served.open() as client:
        client.send(message)
        assert closed_with(client) == 4400
    assert not served.asked.commands


def test_a_message_that_is_too_large_ends_the_connection(served):
    with served.open() as client:
        say(client, do="go", text="x" * 100_000)
        assert closed_with(client) == 1009
    assert not served.asked.commands


def test_who_asks_too_often_is_cut_off(served):
    with served.open() as client:
        with suppress(ConnectionClosed):  # before all is said
            for _ in range(50):
                say(client, do="cancel")
        assert closed_with(client) == 4429
    assert len(served.asked.commands) <= 15


def test_who_floods_is_cut_off_and_others_are_not(served):
    with served.open() as good, served.open("/stop") as bad:
        with pytest.raises(ConnectionClosed):
            for _ in range(100_000):
                say(bad, do="let_go")
        update, _ = hear(good)
        seen(good, update)
        assert hear(good)


def test_more_browsers_than_there_is_room_for_are_told(served):
    with ExitStack() as stack:
        for _ in range(16):
            hear(stack.enter_context(served.open()))
        with served.open(token=None) as late:
            assert closed_with(late) == 4429
        with served.open("/stop") as stop:  # that is always possible
            say(stop, do="press")
            assert json.loads(stop.recv(timeout=20)) == {"pressed": True}


def test_the_emergency_stop_is_pressed_and_released(served, wait_until):
    with served.open("/stop") as client:
        say(client, do="press")
        assert json.loads(client.recv(timeout=20)) == {"pressed": True}
        say(client, do="release")
        wait_until(lambda: served.asked.stops == ["press", "release"])


@pytest.mark.parametrize("lets_go", [True, False])
def test_a_holder_whose_connection_ends_is_missed_unless_it_let_go(served, wait_until, lets_go):
    with served.open("/stop") as client:
        say(client, do="hold")
        wait_until(lambda: served.deadman.is_held)
        if lets_go:
            say(client, do="let_go")
            wait_until(lambda: not served.deadman.is_held)
    wait_until(lambda: not served.deadman.is_held)
    if lets_go:
        assert not served.deadman.expired(time.monotonic())
    else:
        wait_until(lambda: served.deadman.expired(time.monotonic()))


# --- what is shown -------------------------------------------------------------------------------


def show(pictures: Pictures, number: int) -> None:
    pictures.add(Picture(number, lambda: str(number).encode() * 100, 1, 0.01, time.monotonic()))


def test_two_browsers_see_the_same(served):
    served.board.put("governor", {"state": "READY", "detail": "<b>&\u2028</b>"})
    show(served.pictures, 1)
    with served.open() as one, served.open() as other:
        (first, pictures), (second, others) = hear(one), hear(other)
        assert first["changes"] == second["changes"] == [["governor", {"state": "READY", "detail": "<b>&\u2028</b>"}]]
        assert pictures == others == {"live": b"1" * 100}
        assert first["pictures"][0]["age_ms"] >= 10


def test_only_what_is_new_comes_and_a_quiet_connection_shows_that_it_stands(served):
    served.board.put("a", 1)
    with served.open() as client:
        update, _ = hear(client)
        seen(client, update)
        empty, _ = hear(client)
        assert (update["changes"], empty["changes"], empty["pictures"]) == ([["a", 1]], [], [])
        seen(client, empty)
        served.board.put("b", 2)
        changes = []
        while not changes:
            update, _ = hear(client)
            changes = update["changes"]
            seen(client, update)
        assert changes == [["b", 2]]


def test_the_picture_of_a_decision_is_shown_when_asked_for(served):
    show(served.pictures, 7)
    served.pictures.decide("1-5", 7)
    show(served.pictures, 8)
    with served.open() as client:
        say(client, do="picture", id="1-5")
        found: dict[str, bytes] = {}
        while "decision/1-5" not in found:
            update, pictures = hear(client)
            found |= pictures
            seen(client, update)
        assert found["decision/1-5"] == b"7" * 100
        say(client, do="picture", id="nobody's")
        while "decision/nobody's" not in found:
            update, pictures = hear(client)
            found |= pictures
            seen(client, update)
        assert found["decision/nobody's"] == b""


@pytest.mark.parametrize("may", [True, False])
def test_a_click_explains_where_that_is_allowed_and_its_picture_comes(may, wait_until):
    served = Served(PageConfig(port=0, explain=may))
    served.pictures.keep_explanation("1-5", b"a picture")
    try:
        with served.open() as client:
            say(client, do="explain", id="1-5")
            say(client, do="cancel")
            wait_until(lambda: Cancel() in served.asked.commands)
            assert served.asked.commands == ["1-5"] * may + [Cancel()]
            say(client, do="explained", id="1-5")
            found: dict[str, bytes] = {}
            while "explanation/1-5" not in found:
                update, pictures = hear(client)
                found |= pictures
                seen(client, update)
            assert found["explanation/1-5"] == b"a picture"
    finally:
        served.server.stop()


def test_who_explains_too_often_is_cut_off():
    served = Served(PageConfig(port=0, explain=True))
    try:
        with served.open() as client:
            with suppress(ConnectionClosed):  # before all is said
                for number in range(50):
                    say(client, do="explain", id=str(number))
            assert closed_with(client) == 4429
        assert len(served.asked.commands) < 20
    finally:
        served.server.stop()


def test_a_slow_browser_gets_the_newest_picture_next_and_delays_nobody(served):
    with served.open() as quick, served.open() as slow:
        hear(slow)  # and does not say that it was seen
        newest = b""
        for number in range(100, 130):
            show(served.pictures, number)
            while newest != str(number).encode() * 100:
                update, pictures = hear(quick)
                newest = pictures.get("live", newest)
                seen(quick, update)
        with pytest.raises(TimeoutError):
            slow.recv(timeout=0.2)
        say(slow, do="seen", number=1)
        update, pictures = hear(slow)
        assert update["number"] == 2 and pictures["live"] == b"129" * 100


def test_a_browser_that_reads_nothing_at_all_delays_nobody(served):
    """Its socket's buffers are full: what is large waits there, and one update of it."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as raw, served.open() as quick:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        key = "x3JJHMbDL1EzLkh9GBhXDw=="
        raw.sendall(
            f"GET /view HTTP/1.1\r\nHost: {served.host}\r\nOrigin: http://{served.host}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in raw.recv(1000):
            pass
        hello = b'{"do": "hello"}'
        raw.sendall(bytes([0x81, 0x80 | len(hello), 0, 0, 0, 0]) + hello)
        for number in range(20):
            large = bytes([number]) * 2_000_000
            served.pictures.add(Picture(number + 1, lambda large=large: large, 1, 0.0, time.monotonic()))
            newest = b""
            while newest[:1] != bytes([number]):
                update, pictures = hear(quick)
                newest = pictures.get("live", b"")
                seen(quick, update)


# --- addresses -----------------------------------------------------------------------------------


def test_a_port_that_is_taken_and_an_address_that_is_not_ours_are_told(served):
    with pytest.raises(ConfigError, match=rf"port {served.port}: .*set `port` to another"):
        Served(PageConfig(port=served.port))
    with pytest.raises(ConfigError, match=r"203\.0\.113\.1"):
        Served(PageConfig(host="203.0.113.1", port=0, generate_token=True))
    with pytest.raises(ConfigError, match=r"no\.such\.name\.invalid"):
        Served(PageConfig(host="no.such.name.invalid", port=0, generate_token=True))


def test_the_server_ends_though_browsers_are_connected(served):
    with served.open() as client:
        hear(client)
        served.server.stop()
        with pytest.raises(ConnectionClosed):
            for _ in range(1000):
                client.recv(timeout=20)
    assert "page server" not in {thread.name for thread in threading.enumerate()}
