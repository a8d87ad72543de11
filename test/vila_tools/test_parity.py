"""`vila parity`: what it finds, what it says, and that it notices what is wrong."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from conftest import golden_dir
from safetensors.torch import load_file, save_file

from vila_core.errors import ConfigError
from vila_tools.parity.run import OUT_OF_LIMITS, main

VILA = golden_dir("vila")


def summary(capsys):
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


@pytest.fixture
def copy(tmp_path):
    """A directory with the same checkpoints and the named files of e2e/, which may be changed."""

    def make(*names):
        (tmp_path / "e2e").mkdir()
        (tmp_path / "checkpoints").symlink_to(VILA / "checkpoints")
        for name in ("inputs.safetensors", *names):
            shutil.copyfile(VILA / "e2e" / name, tmp_path / "e2e" / name)
        return tmp_path

    return make


def change_tensors(file, change):
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def test_all_of_golden_vila(capsys):
    assert main([str(VILA)]) == 0
    said = capsys.readouterr().out.strip().splitlines()
    report = json.loads(said[-1])
    assert report["failed"] == 0 and report["skipped"] == 3 and len(said) == report["passed"] + 3 + 1
    groups = {"projectors", "vision", "encoders", "text", "prompts", "e2e head", "e2e native", "e2e navila"}
    assert groups | {"e2e videotoken", "e2e remotecode"} == set(report["groups"])
    assert all("largest error" in line or line.startswith("skip") for line in said[:-1])


def test_all_of_golden_vln(capsys):
    assert main([str(golden_dir("vln"))]) == 0
    report = summary(capsys)
    assert report["failed"] == 0 and report["groups"]["vln actions"]["passed"] == 102
    assert report["passed"] + report["skipped"] == 642
    assert report["not_compared"] == ["midlevel_execution.json", "vln_metrics.json"]


def test_other_names_of_pictures_and_cases(copy, capsys):
    folder = copy(
        "nvila_tiny.head.json",
        "nvila_tiny.head.safetensors",
        "nvila_tiny.videotoken.json",
        "nvila_tiny.videotoken.safetensors",
    )
    renamed = {"landscape_160x100": "a.b-1", "portrait_90x150": "second", "wide_240x64": "x3", "frames8": "clip"}
    tensors = load_file(folder / "e2e" / "inputs.safetensors")
    save_file({renamed[name]: tensor for name, tensor in tensors.items()}, folder / "e2e" / "inputs.safetensors")
    for variant in ("head", "videotoken"):
        text = (folder / "e2e" / f"nvila_tiny.{variant}.json").read_text()
        for old, new in renamed.items():
            text = text.replace(old, new)
        text = text.replace('"three_interleaved": {', '"three of them": {')
        (folder / "e2e" / f"nvila_tiny.{variant}.json").write_text(text)
    file = folder / "e2e" / "nvila_tiny.head.safetensors"
    tensors = {k.replace("three_interleaved", "three of them"): v for k, v in load_file(file).items()}
    save_file(tensors, file)
    assert main([str(folder)]) == 0
    assert summary(capsys)["passed"] == 8


def test_pictures_that_a_file_does_not_name_are_recognised(copy, capsys):
    """Only the rendered prompt and the number of pictures are known; nothing else tells their order."""
    folder = copy("navila_tiny.navila.json", "navila_tiny.navila.safetensors")
    assert main([str(folder)]) == 0
    assert summary(capsys)["passed"] == 6


@pytest.mark.parametrize(
    ("name", "by"), [("one_image.inputs_embeds", 3e-5), ("video8.logits_last4", 3e-4), ("text_only.gen_logits", 3e-4)]
)
def test_a_value_that_is_off_is_told(copy, capsys, name, by):
    folder = copy("vila15_tiny.head.json", "vila15_tiny.head.safetensors")
    change_tensors(folder / "e2e" / "vila15_tiny.head.safetensors", lambda tensors: tensors[name][-1].add_(by))
    assert main([str(folder)]) == OUT_OF_LIMITS
    report = summary(capsys)
    case, _, value = name.partition(".")
    (told, reason), *others = report["failures"].items()
    assert told == f"e2e head/vila15_tiny: {case}" and value[:9] in reason and not others


def test_a_limit_can_be_given(copy, capsys):
    folder = copy("vila15_tiny.head.json", "vila15_tiny.head.safetensors")
    file = folder / "e2e" / "vila15_tiny.head.safetensors"
    change_tensors(file, lambda tensors: tensors["one_image.inputs_embeds"].add_(3e-5))
    assert main([str(folder), "--embeddings-limit", "1e-4"]) == 0


def test_nan_is_never_within(copy, capsys):
    folder = copy("vila15_tiny.head.json", "vila15_tiny.head.safetensors")
    file = folder / "e2e" / "vila15_tiny.head.safetensors"
    change_tensors(file, lambda tensors: tensors["one_image.inputs_embeds"].fill_(torch.nan))
    assert main([str(folder), "--only", "one_image"]) == OUT_OF_LIMITS


def test_another_id_is_told(copy, capsys):
    folder = copy("navila_tiny.navila.json", "navila_tiny.navila.safetensors")
    file = folder / "e2e" / "navila_tiny.navila.json"
    data = json.loads(file.read_text())
    data["cases"]["video8"]["generated_ids"][5] += 1
    data["cases"]["one_image"]["input_ids"][0] += 1
    file.write_text(json.dumps(data))
    assert main([str(folder)]) == OUT_OF_LIMITS
    failures = summary(capsys)["failures"]
    assert set(failures) == {"e2e navila/navila_tiny: video8", "e2e navila/navila_tiny: one_image"}
    assert "generated_ids" in failures["e2e navila/navila_tiny: video8"]


def test_a_picture_that_is_missing_is_named(copy, capsys):
    folder = copy("nvila_tiny.head.json", "nvila_tiny.head.safetensors")
    change_tensors(folder / "e2e" / "inputs.safetensors", lambda tensors: tensors.pop("wide_240x64"))
    assert main([str(folder)]) == OUT_OF_LIMITS
    assert "wide_240x64" in summary(capsys)["failures"]["e2e head/nvila_tiny: three_interleaved"]


def test_nothing_to_compare_is_an_error(tmp_path, copy):
    with pytest.raises(ConfigError, match="holds none of"):
        main([str(tmp_path)])
    with pytest.raises(ConfigError, match="not a directory"):
        main([str(tmp_path / "missing")])
    with pytest.raises(ConfigError, match="no case"):
        main([str(VILA), "--only", "nothing of this name"])
    folder = copy("navila_tiny.navila.json")
    (folder / "e2e" / "inputs.safetensors").write_bytes(b"broken")
    with pytest.raises(ConfigError, match=r"inputs\.safetensors cannot be read"):
        main([str(folder)])
