"""Who may call the page, and what a browser may say: attacks on the parts that judge, without a server."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("rclpy")

from hypothesis import given
from hypothesis import strategies as st

from vila_core.errors import ConfigError
from vila_core.web.access import Access, Bucket, header, is_loopback
from vila_ros.page import browser_requests
from vila_ros.page.browser_requests import HELLO, STOP, VIEW, Go, Hello, Press, RequestError, Seen, parse_request
from vila_ros.page.config import PageConfig, read_token

TOKEN = "a-secret-of-many-letters"


def local() -> Access:
    return Access("127.0.0.1", "", {}, lambda: 0.0)


def public(clock=lambda: 0.0, allowed_hosts: str = "") -> Access:
    return Access("0.0.0.0", allowed_hosts, {"page": TOKEN}, clock)


@pytest.mark.parametrize("host", ["localhost", "localhost:8088", "127.0.0.1:8088", "[::1]:9000", "LOCALHOST:1"])
def test_the_names_of_this_machine_are_ours(host):
    assert local().allows_host(host) and public().allows_host(host)


@pytest.mark.parametrize(
    "host",
    [
        *(None, "", "evil.example", "evil.example:8088", "localhost.evil.example", "127.0.0.1.evil.example"),
        *(
            "user@localhost",
            "localhost:8088@evil.example",
            "localhost:port",
            "localhost/",
            "local host",
            "[::1",
            ":8088",
        ),
        *("127.0.0.1\x00", "localhost,evil.example", "localhost:99999"),
    ],
)
def test_other_names_are_not_though_they_may_resolve_to_us(host):
    assert not local().allows_host(host)
    assert not public().allows_host(host)


def test_an_address_of_the_network_is_ours_only_if_we_serve_it():
    assert not local().allows_host("192.168.1.7:8088")
    assert public().allows_host("192.168.1.7:8088")
    assert public(allowed_hosts="robot.lan, other").allows_host("robot.lan:8088")


@pytest.mark.parametrize(
    ("origin", "is_ours"),
    [
        ("http://localhost:8088", True),
        ("https://localhost:8088", True),
        ("http://localhost", False),
        ("http://localhost:8089", False),
        ("http://evil.example", False),
        ("http://localhost:8088.evil.example", False),
        ("http://evil.example#localhost:8088", False),
        ("file://localhost:8088", False),
        ("null", False),
        ("", False),
        ("http://[", False),
        (None, False),
    ],
)
def test_a_script_from_elsewhere_opens_no_connection(origin, is_ours):
    assert local().allows_origin(origin, "localhost:8088") is is_ours


def test_a_page_of_a_stranger_that_resolves_to_us_is_refused_though_origin_and_host_agree():
    assert not local().allows_origin("http://evil.example:8088", "evil.example:8088")


def test_a_header_that_is_there_twice_does_not_count():
    assert header([(b"host", b"localhost"), (b"host", b"evil.example")], b"host") is None
    assert header([(b"host", b"localhost")], b"host") == "localhost"


@pytest.mark.parametrize(
    "shown", ["", "a", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), None, 7, [TOKEN], "\ud800", "ü" * 24]
)
def test_only_the_token_opens(shown):
    access = public()
    assert not access.allows_token(shown, "10.0.0.1")
    assert access.allows_token(TOKEN, "10.0.0.2")


def test_a_token_is_compared_in_constant_time(monkeypatch):
    compared = []
    monkeypatch.setattr("vila_core.web.access.hmac.compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    assert public().allows_token(TOKEN, "x") and not public().allows_token("wrong", "x")
    assert compared == [(TOKEN.encode(), TOKEN.encode()), (b"wrong", TOKEN.encode())]


def test_who_guesses_is_not_listened_to_for_a_while_and_others_are():
    now = [0.0]
    access = public(lambda: now[0])
    for number in range(10):
        assert not access.allows_token(f"guess {number}", "10.0.0.1")
    assert not access.allows_token(TOKEN, "10.0.0.1") and access.allows_token(TOKEN, "10.0.0.2")
    now[0] = 10.0
    assert access.allows_token(TOKEN, "10.0.0.1")


def test_a_bucket_fills_again():
    bucket = Bucket(2.0, 3, 0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(0.5) and not bucket.take(0.6)


# --- what a browser says -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "known", "request_"),
    [
        ('{"do": "go", "text": "to the door"}', VIEW, Go("to the door")),
        ('{"do": "seen", "number": 3}', VIEW, Seen(3)),
        ('{"do": "press"}', STOP, Press()),
        ('{"do": "hello"}', HELLO, Hello()),
        ('{"do": "hello", "token": "x"}', HELLO, Hello("x")),
    ],
)
def test_requests_are_read(message, known, request_):
    assert parse_request(message, known) == request_


@pytest.mark.parametrize(
    "message",
    [
        *("", "{", "[]", "null", '"go"', "7", '{"do": "fly"}', '{"do": ["go"]}', '{"do": {}}', '{"text": "x"}'),
        *('{"do": "go"}', '{"do": "go", "text": 7}', '{"do": "go", "text": null}', '{"do": "go", "text": ["x"]}'),
        *('{"do": "go", "text": "x", "more": 1}', '{"do": "seen", "number": true}', '{"do": "seen", "number": 1.5}'),
        *('{"do": "press"}', '{"do": "hello"}', '{"do": "__class__"}', "[" * 100_000),
        json.dumps({"do": "go", "text": "x" * (browser_requests.MOST_CHARS + 1)}),
        None,
    ],
)
def test_anything_else_is_refused(message):
    with pytest.raises(RequestError):
        parse_request(message, VIEW)


@given(st.text() | st.recursive(st.none() | st.booleans() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_no_text_breaks_the_reader(message):
    with pytest.raises(RequestError):
        parse_request(message, STOP)


# --- the configuration ---------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_token(host):
    assert is_loopback(host) and read_token(PageConfig(host=host)) == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "robot.local", ""])
def test_any_other_address_does(host, tmp_path):
    with pytest.raises(ConfigError, match="token_file"):
        PageConfig(host=host)
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\nmore\n")
    assert read_token(PageConfig(host=host, token_file=str(file))) == TOKEN
    generated = {read_token(PageConfig(host=host, generate_token=True)) for _ in range(2)}
    assert len(generated) == 2 and all(len(token) >= 32 for token in generated)


@pytest.mark.parametrize(
    "text", ["", "\n", "short\n", "with a space in it all\n", "ümläut-ümläut-ümläut\n", "\x00" * 20]
)
def test_a_token_that_is_no_secret_is_refused_by_its_file(text, tmp_path):
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(ConfigError, match=str(file)):
        read_token(PageConfig(token_file=str(file)))


def test_a_missing_token_file_and_two_tokens_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        read_token(PageConfig(token_file=str(tmp_path / "nowhere")))
    with pytest.raises(ConfigError, match="leave one out"):
        PageConfig(token_file="x", generate_token=True)
