"""What the code imports and what pyproject.toml and package.xml declare are the same, in both directions."""

from __future__ import annotations

import ast
import functools
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from vila_tools import ending

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, where pytest brings its forerunner
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (*(ROOT / name for name in ("vila_core", "vila_ros", "vila_tools", "launch")), ROOT / "sim" / "vila_sim")
OWN = {"vila_core", "vila_ros", "vila_sim", "vila_tools", "vila_nav"}

# where a module's name is not its distribution's, or its rosdep key not python3-NAME
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "llama_cpp": "llama-cpp-python",
    "prometheus_client": "prometheus-client",
    "pxr": "usd-core",
    "rclpy": "ros-rclpy",
    "yaml": "pyyaml",
}
ROSDEP_KEYS = {"PIL": "python3-pil", "cv2": "python3-opencv", "yaml": "python3-yaml"}

# no dependable rosdep key: pip brings them to a robot, by extra where it is not the core
FROM_PIP = {
    "core": {"safetensors", "sentencepiece", "threadpoolctl", "tokenizers", "torch"},
    "ros": {"lz4", "mcap", "rosbags", "zstandard"},
    "sim": {"av", "mujoco"},
    "gym": {"gymnasium"},
    "worlds": {"gymnasium", "minigrid", "miniworld", "pyglet"},
    "page": {"fastapi", "uvicorn"},
    "server": {"fastapi", "prometheus_client", "pydantic", "uvicorn"},
    "voice": {"pocketsphinx", "sounddevice"},
    "video": {"av"},
    "isaac": {"pxr"},
    "export": {"ml_dtypes", "onnx", "onnxruntime", "onnxscript"},
    "peers": {"gguf", "llama_cpp", "nncf", "openvino", "transformers"},
    "transformers": {"transformers"},
    "ray": {"ray"},
    "gpu-check": {"triton"},
}
FROM_PIP_ALONE = set().union(*FROM_PIP.values())

# declared, and imported by none of our modules: who uses it
USED_OTHERWISE = {
    "ros-common-interfaces": "brings sensor_msgs and the like",
    "ros-rmw-fastrtps-cpp": "the middleware that rclpy loads",
    "ros-rosidl-default-runtime": "what generated messages import",
    "torchvision": "transformers' processors of videos",
    "websockets": "uvicorn loads it by name",
    "tensorrt-rtx-cu13": "vila_core.export.runtimes loads it by name",
}
MANIFEST_USED_OTHERWISE = {
    "lifecycle_msgs": "the services of rclpy's lifecycle nodes",
    "rosidl_default_runtime": "what generated messages import",
}
TEST_PROGRAMS = {
    "import-linter",
    "mypy",
    "pytest-rerunfailures",
    "pytest-timeout",
    "pytest-xdist",
    "ruff",
}  # run, not imported


@functools.cache
def imports_of(*folders: Path) -> frozenset[str]:
    names = {name for folder in folders for path in folder.rglob("*.py") for name in imported_names(path)}
    return frozenset(names - OWN - set(sys.stdlib_module_names))


def imported_names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def declared() -> dict[str, dict[str, Requirement]]:
    """The requirements of pyproject.toml by extra ("core" for none) and by distribution."""
    project = pyproject()["project"]
    lists = {"core": project["dependencies"], **project["optional-dependencies"]}
    del lists["all"]  # the others by name
    return {extra: {one.name: one for one in map(Requirement, rows)} for extra, rows in lists.items()}


def manifest(*tags: str) -> set[str]:
    root = ElementTree.parse(ROOT / "package.xml").getroot()
    return {element.text or "" for element in root if element.tag in tags}


def distribution_of(module: str) -> str:
    return DISTRIBUTIONS.get(module, module)


def rosdep_keys(module: str) -> set[str]:
    return {module, ROSDEP_KEYS.get(module, f"python3-{module}")}


def test_pyproject_names_what_the_code_imports():
    named = {name for extra, rows in declared().items() if extra != "test" for name in rows}
    from_ros = manifest("depend", "exec_depend") - {"rclpy"}
    missing = {distribution_of(name) for name in imports_of(*PACKAGES) - from_ros} - named
    assert not missing, f"pyproject.toml does not name {sorted(missing)}"


def test_the_code_imports_what_pyproject_names():
    named = {name for extra, rows in declared().items() if extra != "test" for name in rows}
    used = {distribution_of(name) for name in imports_of(*PACKAGES)}
    unused = named - used - set(USED_OTHERWISE)
    assert not unused, f"pyproject.toml names {sorted(unused)}, which nothing imports"
    assert set(USED_OTHERWISE) <= named - used, "the table explains what needs no explanation"


def test_the_tests_import_what_the_extra_test_names():
    named, words = set(declared()["test"]), "\n".join(path.read_text() for path in (ROOT / "test").rglob("*.py"))
    words += (ROOT / "vila_tools/parity/llama3_bpe.py").read_text()  # looks for llama_models by name
    unused = {name for name in named - TEST_PROGRAMS if not re.search(rf"\b{name.replace('-', '_')}\b", words)}
    assert not unused and named >= TEST_PROGRAMS


def test_manifest_names_what_the_code_imports():
    named = manifest("depend", "exec_depend")
    for name in imports_of(*PACKAGES) - FROM_PIP_ALONE:
        keys = rosdep_keys(name)
        assert keys & named, f"package.xml has no <exec_depend> for {name!r}: one of {sorted(keys)}"


def test_the_code_imports_what_the_manifest_names():
    used = set().union(*map(rosdep_keys, imports_of(*PACKAGES)))
    unused = manifest("depend", "exec_depend") - used - set(MANIFEST_USED_OTHERWISE)
    assert not unused, f"package.xml names {sorted(unused)}, which nothing imports"
    assert not set(MANIFEST_USED_OTHERWISE) & used, "the table explains what needs no explanation"


@pytest.mark.parametrize("extra", FROM_PIP)
def test_what_pip_alone_brings_is_imported_and_stands_in_its_extra(extra):
    assert FROM_PIP[extra] <= imports_of(*PACKAGES)
    assert {distribution_of(name) for name in FROM_PIP[extra]} <= set(declared()[extra])


def test_what_the_core_brings_stands_in_no_extra_without_a_reason():
    lists = declared()
    again = {
        (extra, name) for extra, rows in lists.items() for name in rows if extra != "core" and name in lists["core"]
    }
    assert again == {("export", "torch")}, "the same library twice; an extra may only ask for a newer one"


def test_a_missing_library_is_answered_with_the_extra_that_brings_it():
    lists = declared()
    for module, extra in ending.EXTRAS.items():
        if module != "vila_nav":  # our messages
            assert distribution_of(module) in lists[extra], f"vila: {module} is not in the extra {extra!r}"


def test_every_library_has_a_least_version_and_one_that_is_too_new():
    for extra, rows in declared().items():
        for name, one in rows.items():
            operators = {specifier.operator for specifier in one.specifier}
            assert operators in ({">=", "<"}, {"=="}), f"{extra}: {name} {one.specifier}"


def test_what_pip_brings_beside_ros_is_what_pyproject_asks_for():
    lines = (ROOT / "requirements/beside-ros.txt").read_text().splitlines()
    beside = {one.name: one for one in (Requirement(line.split("#")[0]) for line in lines if line[0] != "#")}
    (torch,) = re.findall(r"'(torch[^']*)'", (ROOT / ".github/workflows/colcon.yml").read_text())
    beside["torch"] = Requirement(torch)
    lists = declared()
    asked = {name: one for extra in ("test", "sim", "ros", "core") for name, one in lists[extra].items()}
    for name in set(beside) - {"numpy"}:  # narrower on Humble
        assert beside[name].specifier == asked[name].specifier, name
    needed = {distribution_of(name) for extra in ("core", "ros", "sim") for name in FROM_PIP[extra]}
    assert needed <= set(beside)


def test_what_mypy_says_does_not_depend_on_the_extras_that_are_installed():
    (everything,) = map(Requirement, pyproject()["project"]["optional-dependencies"]["all"])
    lists = declared()
    assert everything.extras < set(lists)
    inside = {name for extra in (*everything.extras, "core") for name in lists[extra]}
    outside = {name for rows in lists.values() for name in rows} - inside
    (skipped,) = (one["module"] for one in pyproject()["tool"]["mypy"]["overrides"])
    for name in imports_of(*PACKAGES):
        is_outside = distribution_of(name) in outside
        assert is_outside == (f"{name}.*" in skipped), f"mypy's follow_imports of {name!r}, see pyproject.toml"
