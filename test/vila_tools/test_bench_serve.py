"""`vila bench serve`: robots at a server of its own, and at one that is named."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

from serving import serving

from vila_core.engine.remote.config import RemoteConfig
from vila_tools.benchmark.serving import measure
from vila_tools.cli import main


@pytest.mark.slow
def test_robots_at_a_server_of_its_own_lose_nothing(capsys):
    assert main(["bench", "serve", "--clients", "2", "3", "--seconds", "2"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["lost"] == 0 and set(report["clients"]) == {"2", "3"}
    for row in report["clients"].values():
        assert row["answered"] > 0 and row["p50_ms"] <= row["p99_ms"] <= row["most_ms"]


def test_what_is_refused_is_counted_and_not_lost():
    with serving(max_requests=1) as served:
        row = measure(RemoteConfig(served.url, timeout_s=30.0), 4, 1.0, None)
    assert row["answered"] > 0 and row["busy"] > 0 and not row["lost"]


def test_a_server_that_is_not_there_is_told(capsys, tmp_path):
    file = tmp_path / "remote.yaml"
    file.write_text("base_url: http://127.0.0.1:1/v1\n")
    assert main(["bench", "serve", "--remote", str(file), "--clients", "2", "--seconds", "0.2"]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["clients"]["2"]["lost"] == {"RemoteUnreachableError": 2}


@pytest.mark.parametrize("options", [["--clients", "0"], ["--seconds", "0"]])
def test_impossible_numbers_are_refused(options, capsys):
    assert main(["bench", "serve", *options]) == 2
    assert options[0] in capsys.readouterr().err
