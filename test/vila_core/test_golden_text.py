"""Text and frame indices against what the official code gave: every row of test/reference/vila and vln about them."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path

import pytest
import torch
from conftest import golden_dir
from safetensors.torch import load_file

from vila_core.history.navila_policy import select_frames
from vila_core.history.video_sampling import frames_at_rate, native_frames, serving_frames, uniform_frames
from vila_core.intervals import interval_iou
from vila_core.models.config import TimeTokens
from vila_core.models.stored.config_reader import read_checkpoint_config
from vila_core.models.time_tokens import (
    decode_times,
    encode_times,
    parse_interval,
    soft_cross_entropy,
)
from vila_core.models.tokenizer import NATIVE_IMAGE_ID, Tokenizer
from vila_core.prompts.conversation import render, render_conversation, stop_texts, stop_token_ids, training_labels
from vila_core.prompts.navigation import navila_text
from vila_tools.parity.llama3_bpe import installed_ranks, write_tokenizer

VILA, VLN = golden_dir("vila"), golden_dir("vln")
TURNS = ["<image>What is this?", "A chair.", "Which colour?"]
HUNDRED = TimeTokens(count=100)


def read(*parts):
    return json.loads(Path(*parts).read_text(encoding="utf-8"))


def prompt_rows():
    data = read(VILA, "prompts.json")
    for family, rows in data["conv"].items():
        for template in [family] if family != "auto" else ["qwen2", data["qwen2_template_string"]]:
            for key, text in rows.items():
                if key != "template":
                    yield pytest.param(template, key, text, id=f"{template[:12]}-{key}")


@pytest.mark.parametrize(("template", "key", "text"), list(prompt_rows()))
def test_conversations_are_rendered_byte_for_byte(template, key, text):
    turns = TURNS[:1] if key.startswith("single_turn") else TURNS
    ours = render_conversation(
        template, turns, generation_prompt="prompt=False" not in key, system_prompt="no_system" not in key
    )
    assert ours == text


@pytest.mark.parametrize("name", read(VILA, "text", "stop_tokens_and_labels.json"))
def test_stop_tokens_and_labels(name):
    row = read(VILA, "text", "stop_tokens_and_labels.json")[name]
    checkpoint, template = name.split(":")
    folder = VILA / "checkpoints" / checkpoint
    tokenizer = Tokenizer(folder / "llm")
    if template == "auto":
        template = read_checkpoint_config(folder).chat_template
    assert sorted(stop_texts(template)) == sorted(row["stop_tokens"])
    stop = stop_token_ids(template, tokenizer)
    assert list(stop) == sorted(row["ids"])
    assert [tokenizer.id_of(token) for token in sorted(row["stop_tokens"])] == [
        row["ids"][row["stop_tokens"].index(token)] for token in sorted(row["stop_tokens"])
    ]
    turns = ["What is this?", "A red chair.", "Which colour?", "red"]
    assert training_labels(template, turns, tokenizer) == (row["train_input_ids"], row["train_labels"])


@pytest.mark.parametrize("file", sorted(path.name for path in (VILA / "e2e").glob("*.json")))
def test_token_ids_and_replies_of_every_end_to_end_case(file):
    data = read(VILA, "e2e", file)
    variant = file.split(".")[-2]
    native = variant in ("native", "navila")
    tokenizer = Tokenizer(VILA / "checkpoints" / data["checkpoint"] / "llm", slow=native)
    if "media_token_ids" in data:
        media = tokenizer.media_ids
        assert (media.sentinel, media.image, media.video, len(tokenizer)) == (
            data["sentinel_token_id"],
            data["media_token_ids"]["image"],
            data["media_token_ids"]["video"],
            data["len_tokenizer_after_load"],
        )
        special = (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id)
        assert special == (data["bos_token_id"], data["eos_token_id"], data["pad_token_id"])
        assert tokenizer.encode("\n", add_bos=True) == data["newline_token_ids_as_used_by_encoder"]
    for case in data["cases"].values():
        if native:
            assert tokenizer.encode_native(case["prompt"]) == case["input_ids"]
        elif "decoded_prompt" in case:
            bos = len(tokenizer.bos_ids)
            assert case["input_ids"][:bos] == tokenizer.bos_ids
            text = case["decoded_prompt"]
            first = text.removeprefix("<|begin_of_text|>").removeprefix("<s>") if bos else text
            assert tokenizer.encode(first.removeprefix(" ") if first != text else text) == case["input_ids"][bos:]
        if "generated_ids" in case:
            assert tokenizer.decode(case["generated_ids"]).strip() == case["response"].strip()


@pytest.mark.parametrize("row", read(VILA, "text", "frame_sampling.json")["video"], ids=lambda r: str(r["frame_count"]))
def test_frames_of_a_video(row):
    count, frames = row["frame_count"], row["num_frames"]
    while count - 1 in row.get("undecodable", ()):
        count -= 1
    assert uniform_frames(count, frames) == row["head_fps0"]
    assert uniform_frames(count, frames) == row.get("dec2024", row["head_fps0"])
    for fps in (1, 2):
        if f"head_fps{fps}" in row:
            assert frames_at_rate(count, row["video_fps"], fps, frames) == row[f"head_fps{fps}"]
    native = row.get("vila15_get_frame_from_vcap")
    if isinstance(native, list):
        assert native_frames(count, frames) == native


def test_frames_of_the_server_and_of_navila():
    data = read(VILA, "text", "frame_sampling.json")
    serving = data["serving"]
    assert serving_frames(serving["frame_count"], serving["num_frames"]) == serving["serving_server"]
    for row in data["navila"]:
        assert select_frames(row["history_len_including_current"], 8) == row["picked(-1=black pad)"]
    rows = read(VLN, "navila_frame_sampling.json")["rows"]
    checked = 0
    for row in rows:
        for key, picked in row.items():
            if key.endswith("_eval"):
                assert select_frames(row["n_frames_available"], int(key[1:].split("_")[0])) == picked
                checked += 1
    assert checked == 164


def test_time_tokens_of_vila():
    data = read(VILA, "text", "time_tokens.json")
    for row in data["encode"]:
        assert encode_times(row["text"], row["duration"], HUNDRED) == row["out"]
    for row in data["decode"]:
        assert decode_times(row["text"], row["duration"], HUNDRED) == row["out"]
    for row in data["parse"]:
        assert list(parse_interval(row["text"], row["duration"])) == row["out"]
    for row in data["iou"]:
        assert interval_iou(tuple(row["a"]), tuple(row["b"])) == row["iou"]
        assert float(row["iou"] >= 0.5) == row["p@0.5"]


def test_time_tokens_of_vln():
    data = read(VLN, "temporal.json")
    for duration, number, _, vila in data["decode"]:
        assert decode_times(f"<t{number}>", duration, HUNDRED) == vila
    for duration, seconds, token in data["encode"]:
        assert encode_times(f"<{seconds}>", duration, HUNDRED) == token
    for count, duration, number, text in data["decode_other_N"]:
        assert decode_times(f"<t{number}>", duration, TimeTokens(count=count)) == text
    for row in data["sentences"]:
        decoded = decode_times(row["text"], row["duration"], HUNDRED)
        assert decoded == row["vila_decoded"]
        assert list(parse_interval(decoded, row["duration"])) == row["vila_interval"]
    for row in data["parse"]:
        assert list(parse_interval(row["text"], row["duration"])) == row["vila"]
    for row in data["iou"]:
        assert interval_iou(tuple(row["pred"]), tuple(row["gt"])) == pytest.approx(row["vila_iou"], abs=1e-12)


def test_times_need_a_duration_and_two_tokens():
    for duration, count in ((0.0, 100), (-1.0, 100), (5.0, 1)):
        with pytest.raises(ValueError, match="at least 2 time tokens"):
            encode_times("<1>", duration, TimeTokens(count=count))


@pytest.mark.parametrize("std", [0.5, 1.0, 2.0])
def test_soft_cross_entropy(std):
    data = load_file(VILA / "text" / "soft_cross_entropy.safetensors")
    loss = soft_cross_entropy(data["logits"], data["labels"], data["soft_token_ids"], std)
    assert torch.allclose(loss, data[f"loss_std_{std}"], atol=1e-6)


def test_navila_prompts_and_their_llama_3_ids():
    rows = read(VLN, "navila_prompt.json")["rows"]
    for row in rows:
        question = navila_text(row["instruction"], row["num_frames"])
        assert question == row["question"]
        if "full_prompt_llama_3" in row:
            assert render("llama_3", question) == row["full_prompt_llama_3"]


@pytest.fixture(scope="module")
def llama_3(tmp_path_factory):
    ranks = installed_ranks()
    if ranks is None:
        pytest.skip("the wheel llama-models, which holds Llama 3's BPE ranks, is not installed")
    folder = tmp_path_factory.mktemp("llama_3")
    write_tokenizer(ranks, folder)
    return Tokenizer(folder)


def test_llama_3_token_ids_of_every_row(llama_3):
    data = read(VLN, "navila_tokens.json")
    without_bos = copy.copy(llama_3)
    without_bos.bos_ids = []
    assert len(data["prompt_rows"]) == 11
    assert len(data["action_strings"]) == 10
    for row in data["prompt_rows"]:
        prompt = render("llama_3", navila_text(row["instruction"], 8))  # one instruction holds an <image> of its own
        ids = llama_3.encode_native(prompt)
        assert (len(ids), ids.count(NATIVE_IMAGE_ID)) == (row["n_ids_bos_tokenizer"], row["n_image"])
        assert ids.count(128000) == row["bos_count_bos_tokenizer"]
        assert row.get("ids_bos_tokenizer") in (None, ids)  # long ones are told by their hash alone
        assert hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16] == row["sha256_ids_bos"]
        assert len(without_bos.encode_native(prompt)) == row["n_ids_no_bos_tokenizer"]
    for row in data["action_strings"]:
        assert llama_3.encode(row["text"]) == row["ids"]
