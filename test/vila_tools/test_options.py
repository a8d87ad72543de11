"""The option that says with how many threads a program computes."""

from __future__ import annotations

import argparse

import pytest

pytest.importorskip("torch")

import torch

from vila_tools.options import add_threads_option


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    add_threads_option(parser)
    return parser


@pytest.mark.parametrize(("of_torch", "taken"), [(1, 1), (4, 4), (32, 8)])
def test_it_is_what_torch_takes_by_itself_up_to_8(of_torch: int, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: of_torch)
    assert parser().parse_args([]).threads == taken
    assert parser().parse_args(["--threads", "13"]).threads == 13


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "two", ""])
def test_what_is_no_number_of_threads_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args([f"--threads={text}"])
    assert f"{text!r} is no whole number from 1" in capsys.readouterr().err
