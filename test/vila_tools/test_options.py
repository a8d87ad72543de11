"""The option that says with how many threads a program computes."""

from __future__ import annotations

import argparse

import pytest

pytest.importorskip("torch")

import torch

from vila_tools.options import add_threads_option


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    add_threads_option(parser)
    return parser


def test_it_is_what_torch_takes_by_itself(parser: argparse.ArgumentParser) -> None:
    assert parser.parse_args([]).threads == torch.get_num_threads()
    assert parser.parse_args(["--threads", "3"]).threads == 3


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "two", ""])
def test_what_is_no_number_of_threads_is_refused(parser: argparse.ArgumentParser, text: str, capsys) -> None:
    with pytest.raises(SystemExit):
        parser.parse_args([f"--threads={text}"])
    assert f"{text!r} is no whole number from 1" in capsys.readouterr().err
