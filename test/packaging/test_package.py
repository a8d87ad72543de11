"""The package's own papers: what they promise is there, and they agree with each other."""

from __future__ import annotations

import importlib
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from vila_core.errors import ConfigError, Terminated
from vila_tools import cli, ending

ROOT = Path(__file__).resolve().parents[2]
MAX_FILE_BYTES = 12 * 2**20


def manifest() -> ElementTree.Element:
    return ElementTree.parse(ROOT / "package.xml").getroot()


def pyproject() -> str:
    return (ROOT / "pyproject.toml").read_text()


def tracked_files() -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if names.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in names.stdout.splitlines() if (ROOT / name).is_file()]


def test_manifest_is_format_3_and_joins_the_interface_packages():
    root = manifest()
    assert root.get("format") == "3"
    assert root.findtext("name") == "vila_nav"
    assert root.findtext("member_of_group") == "rosidl_interface_packages"
    assert root.findtext("export/build_type") == "ament_cmake"
    assert root.findtext("license") == "Apache-2.0"
    assert "Apache License" in (ROOT / root.find("license").get("file")).read_text()


def test_builds_with_and_without_isolation_ask_for_the_same():
    isolated = re.search(r"^requires = \[\n(.*?)^\]", pyproject(), re.MULTILINE | re.DOTALL).group(1)
    wanted = set(re.findall(r'^    "(.*)",$', isolated, re.MULTILINE))
    lines = (ROOT / "requirements" / "build.txt").read_text().splitlines()
    assert wanted == {line for line in lines if not line.startswith("#")}


def test_one_version_everywhere():
    version = manifest().findtext("version")
    assert f'\nversion = "{version}"\n' in pyproject()
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_interface_is_built():
    built = set(re.findall(r'"((?:msg|srv|action)/\S+)"', (ROOT / "CMakeLists.txt").read_text()))
    there = {f"{kind}/{path.name}" for kind in ("msg", "srv", "action") for path in (ROOT / kind).glob(f"*.{kind}")}
    assert built == there


def test_every_node_is_an_executable_of_both_builds():
    modules = {path.parent.name for path in (ROOT / "vila_ros").glob("*/node.py")}
    nodes = re.search(r"foreach\(node (.*)\)", (ROOT / "CMakeLists.txt").read_text()).group(1).split()
    scripts = re.findall(r'^(\w+)_node = "vila_ros\.\1\.node:main"$', pyproject(), re.MULTILINE)
    assert modules == set(nodes) == set(scripts)


def test_what_isaac_sims_python_runs_is_installed_and_distributed():
    file = "sim/isaac/run.py"
    assert (ROOT / file).is_file() and 'SHARE / "' + file in (ROOT / "launch/isaac.launch.py").read_text()
    installed = f"install(PROGRAMS {file} DESTINATION share/${{PROJECT_NAME}}/{Path(file).parent})"
    assert installed in (ROOT / "CMakeLists.txt").read_text()
    assert f"graft {Path(file).parent}" in (ROOT / "MANIFEST.in").read_text().splitlines()


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_subcommand_exists_and_helps(name):
    module = importlib.util.find_spec(cli.COMMANDS[name].target.split(":")[0])
    assert module is not None, f"vila {name}: no module {cli.COMMANDS[name].target}"
    with pytest.raises(SystemExit) as end:
        cli.main([*name.split(), "--help"])
    assert end.value.code == 0


def test_help_lists_every_subcommand(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text and command.help in text for name, command in cli.COMMANDS.items())


@pytest.mark.parametrize("arguments", [[], ["fly"], ["bench"], ["bench", "fly"]])
def test_an_unknown_subcommand_is_an_input_error(arguments, capsys):
    assert cli.main(arguments) == ending.INPUT_ERROR
    assert "demo" in "".join(capsys.readouterr())


def raising(error: BaseException):
    def run(arguments: list[str]) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ConfigError("seed = -1: must be 0 or more"), ending.INPUT_ERROR, "seed = -1"),
        (ModuleNotFoundError("no", name="mujoco.egl"), ending.INPUT_ERROR, "pip install '.[sim]'"),
        (ModuleNotFoundError("no", name="nav_msgs"), ending.INPUT_ERROR, "pip install '.[ros]'"),
        (ModuleNotFoundError("no", name="torch"), ending.INPUT_ERROR, "pip install ."),
        (KeyboardInterrupt(), ending.INTERRUPTED, ""),
        (Terminated(), ending.TERMINATED, ""),
    ],
)
def test_an_error_is_one_line(error, status, words, capsys, monkeypatch):
    monkeypatch.setattr(cli.Command, "load", lambda self: raising(error))
    assert cli.main(["demo"]) == status
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.count("\n") <= 1


def test_no_file_is_large():
    large = [path for path in tracked_files() if path.stat().st_size > MAX_FILE_BYTES]
    assert not large


def test_the_reference_data_is_as_small_as_its_readme_says():
    found = [path for path in tracked_files() if path.is_relative_to(ROOT / "test" / "reference")]
    assert found and sum(path.stat().st_size for path in found) <= 6_000_000


def test_no_text_names_a_machine():
    pattern = re.compile(r"(?<![\w.<])/(?:work|root|home|Users|tmp/\w)[/\w]*")
    for path in tracked_files():
        if path.suffix in (".py", ".md", ".xml", ".yaml", ".toml", ".txt", ".msg", ".srv", ".action", ""):
            found = pattern.search(path.read_text(errors="replace"))
            assert found is None or path == Path(__file__), f"{path}: {found.group()}"
