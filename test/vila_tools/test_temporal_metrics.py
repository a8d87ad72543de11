"""The official temporal metrics, on every row that the official code computed."""

from __future__ import annotations

import json

import pytest
from conftest import golden_dir

from vila_core.models.config import TimeTokens
from vila_core.models.time_tokens import decode_times, encode_times, parse_interval
from vila_tools.evaluation.temporal import (
    TemporalScore,
    macro_score,
    mean_score,
    score_interval,
    stated_interval,
)
from vila_tools.parity.vln import _temporal_cases

DATA = json.loads((golden_dir("vln") / "temporal.json").read_text())
TOKENS = TimeTokens(count=DATA["rule"]["num_time_tokens"], format=DATA["rule"]["template"])


@pytest.mark.parametrize(("duration", "number", "_", "vila"), DATA["decode"])
def test_decode(duration, number, _, vila):
    assert decode_times(f"<t{number}>", duration, TOKENS) == vila


@pytest.mark.parametrize(("count", "duration", "number", "text"), DATA["decode_other_N"])
def test_decode_with_other_numbers_of_tokens(count, duration, number, text):
    assert decode_times(f"<t{number}>", duration, TimeTokens(count=count)) == text


@pytest.mark.parametrize(("duration", "seconds", "token"), DATA["encode"])
def test_encode(duration, seconds, token):
    assert encode_times(f"<{seconds}>", duration, TOKENS) == token


@pytest.mark.parametrize("row", DATA["sentences"])
def test_sentences(row):
    decoded = decode_times(row["text"], row["duration"], TOKENS)
    assert decoded == row["vila_decoded"]
    assert list(parse_interval(decoded, row["duration"])) == row["vila_interval"]


@pytest.mark.parametrize("row", DATA["parse"])
def test_parse(row):
    official = parse_interval(row["text"], row["duration"])
    assert list(official) == row["vila"]
    stated = stated_interval(row["text"], row["duration"])
    assert stated in (None, official)
    assert stated is not None or official == (0.0, row["duration"])  # only silence differs


@pytest.mark.parametrize("text", ["", "I did not see that.", "<5>", "at <12.5> I think", "5 and 6"])
def test_silence_and_one_time_are_no_interval(text):
    assert parse_interval(text, 60.0) == (0.0, 60.0)
    assert stated_interval(text, 60.0) is None
    assert score_interval(stated_interval(text, 60.0), (0.0, 60.0)) == TemporalScore(0.0, 0.0)


@pytest.mark.parametrize("row", DATA["iou"])
def test_iou_and_precision(row):
    score = score_interval(tuple(row["pred"]), tuple(row["gt"]))
    assert score.iou == pytest.approx(row["vila_iou"], abs=1e-12)
    assert score.precision == row["vila_p50"]


def test_half_counts_and_less_does_not():
    assert score_interval((0, 1), (0, 2)).precision == 1.0
    assert score_interval((0, 0.999), (0, 2)).precision == 0.0


def test_aggregate():
    rows = [(video, score_interval(tuple(said), tuple(true))) for video, said, true in DATA["aggregate"]["rows"]]
    macro, micro = DATA["aggregate"]["macro_over_videos"], DATA["aggregate"]["micro_over_rows_for_contrast"]
    score, mean = macro_score(rows), mean_score([score for _, score in rows])
    assert (score.iou, score.precision) == pytest.approx((macro["iou"], macro["precision@0.5"]))
    assert (mean.iou, mean.precision) == pytest.approx((micro["iou"], micro["precision@0.5"]))
    with pytest.raises(ValueError, match="no scores"):
        macro_score([])


def test_parity_covers_all_rows():
    cases = list(_temporal_cases(DATA))
    parts = ("decode", "encode", "decode_other_N", "sentences", "parse", "iou")
    assert len(cases) == sum(len(DATA[part]) for part in parts) + 1
    assert [case.name for case in cases][-1] == "aggregate"
