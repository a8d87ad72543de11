"""On the robot nothing runs text as code, starts a shell, or publishes and calls what a message names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for folder in ("vila_core", "vila_ros") for path in (ROOT / folder).rglob("*.py"))
RUNS_TEXT = {"eval", "exec", "compile", "__import__", "breakpoint", "input"}
FORBIDDEN = {  # roots of modules that open a door: to a shell, the network, objects of a file, messages by their names
    *("pty", "code", "codeop", "runpy", "pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"),
    *("socket", "socketserver", "http", "ssl", "ftplib", "telnetlib", "xmlrpc", "webbrowser"),
    *("requests", "httpx", "aiohttp", "websockets", "paramiko", "zmq"),
    *("fastapi", "starlette", "uvicorn"),
    *("rosidl_runtime_py", "ros2cli", "ros2topic", "ros2service", "rosbridge_library", "launch"),
}
FORBIDDEN_PARTS = {"urllib.request", "multiprocessing.managers", "torch.hub"}
STARTS = {f"os.{name}" for name in ("system", "popen", "fork", "forkpty", "posix_spawn", "posix_spawnp", "startfile")}
STARTS |= {f"os.{kind}{way}" for kind in ("exec", "spawn") for way in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")}
PROGRAMS = {  # the only files that start a program, by a list of words: the compiler, what speaks, ours
    "vila_core/kernels/build.py",
    "vila_core/voice/speakers.py",
    "vila_ros/page/explainer.py",
}
BY_NAME = {  # the only files that import by a name: from a table of ours, or one that is written there
    "vila_core/engine/backend.py",
    "vila_core/export/runtimes.py",
    "vila_core/voice/recognisers.py",
    "vila_core/voice/whisper_recogniser.py",  # what no extra brings
    "vila_ros/governor/mounts.py",
    "vila_ros/simulator/standard_services.py",
    "vila_ros/simulator/transforms.py",
    "vila_ros/navigator/debug_outputs.py",
    "vila_ros/navigator/motion/goal_frames.py",
    "vila_ros/navigator/motion/nav2_client.py",
    "vila_ros/recorder/node.py",  # messages whose definition is installed
}
LAUNCHES = "vila_ros/common/launching.py"  # and nothing imports that but the launch files
SERVES = {  # the only files that know the web, and how: docs/page.md
    "vila_core/engine/remote/exchange.py": {"http", "socket", "ssl"},  # to the one server that is configured
    "vila_core/web/listening.py": {"socket"},
    "vila_ros/page/server.py": {"fastapi", "uvicorn"},
    "vila_ros/page/viewer.py": {"fastapi"},
}
CALLS = {  # the only files that ask another node for something, under names that are written there
    "vila_ros/navigator/motion/nav2_client.py": {"ActionClient"},
    "vila_ros/page/commands.py": {"ActionClient", "create_client"},
    "vila_ros/common/emergency_service.py": {"create_client"},
    "vila_ros/voice/robot.py": {"ActionClient"},
}
NAMED_ELSEWHERE = {"vila_ros/navigator/motion/nav2_client.py"}  # by a parameter: the name of Nav2's action
CLIENTS = {"create_client": 1, "create_generic_client": 1, "create_generic_publisher": 1, "ActionClient": 2}
OFFERS = {"create_publisher": 1, "create_service": 1, "ActionServer": 2, "GoalServer": 2}  # where the name stands


def doors(tree: ast.AST, file: str) -> Iterator[str]:
    """What a source opens, one line each."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    safe = {one.name for one in classes if [ast.unparse(base) for base in one.bases] == ["yaml.SafeLoader"]}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"imports {alias.name}" for alias in node.names if is_forbidden(alias.name, file))
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            if file != LAUNCHES or node.module.split(".")[0] not in ("launch", "launch_ros"):
                yield from (f"imports {name}" for name in names if is_forbidden(name, file))
            yield from (f"imports {name}" for name in names if name in STARTS or name == "vila_ros.common.launching")
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in STARTS:
            yield f"uses {ast.unparse(node)}"
        elif isinstance(node, ast.Call):
            yield from called(node, file, safe)


def is_forbidden(module: str, file: str) -> bool:
    root = module.split(".")[0]
    return root in FORBIDDEN - SERVES.get(file, set()) or any(module.startswith(part) for part in FORBIDDEN_PARTS)


def called(call: ast.Call, file: str, safe_loaders: set[str]) -> Iterator[str]:
    text = ast.unparse(call.func)
    name = text.rsplit(".", 1)[-1]
    if text in RUNS_TEXT or text.startswith("builtins."):
        yield f"calls {text}"
    if name == "import_module" and file not in BY_NAME:
        yield "imports by a name"
    if text.startswith("subprocess.") and file not in PROGRAMS:
        yield "starts a program"
    if text == "torch.load" and not keyword_is(call, "weights_only", True):
        yield "loads objects"
    loader = next((ast.unparse(word.value) for word in call.keywords if word.arg == "Loader"), "")
    if text in ("yaml.load", "yaml.unsafe_load", "yaml.full_load") and loader not in safe_loaders:
        yield f"calls {text}"
    if any(word.arg == "shell" for word in call.keywords):
        yield "starts a shell"
    if name in CLIENTS and name not in CALLS.get(file, ()):
        yield f"calls {name}"
    elif name in CLIENTS and not is_client_named(call, name, file):
        yield f"{name} of a name that is not written here"
    if name in OFFERS and not is_fixed(argument(call, OFFERS[name]), is_publisher=name == "create_publisher"):
        yield f"{name} of a name that is not written here"


def is_client_named(call: ast.Call, name: str, file: str) -> bool:
    return file in NAMED_ELSEWHERE or is_fixed(argument(call, CLIENTS[name]), is_publisher=True)


def keyword_is(call: ast.Call, name: str, value: object) -> bool:
    return any(
        word.arg == name and isinstance(word.value, ast.Constant) and word.value.value is value
        for word in call.keywords
    )


def argument(call: ast.Call, position: int) -> ast.AST | None:
    return call.args[position] if len(call.args) > position else None


def is_fixed(name: ast.AST | None, *, is_publisher: bool) -> bool:
    """True for a text, a constant and, but for publishers, a variable: no part of a message, nothing put together."""
    if isinstance(name, ast.Name):
        return name.id.isupper() or not is_publisher
    return isinstance(name, ast.Constant)


def test_nothing_is_open() -> None:
    found = []
    for path in FILES:
        file = str(path.relative_to(ROOT))
        found += [f"{file} {door}" for door in doors(ast.parse(path.read_text(encoding="utf-8")), file)]
    assert not found
    assert len(FILES) > 200 and all((ROOT / file) in FILES for file in {*PROGRAMS, *BY_NAME, *CALLS, *SERVES})


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "exec(text)",
        "__import__(text)",
        "import builtins; builtins.eval(text)",
        "import os; os.system(text)",
        "from os import popen",
        "import os; run = os.execvp",
        "import subprocess; subprocess.run([text])",
        "run(text, shell=True)",
        "import importlib; importlib.import_module(text)",
        "import pickle",
        "from urllib.request import urlopen",
        "from urllib import request",
        "import socket",
        "from fastapi import FastAPI",
        "import torch; torch.load(file)",
        "import torch; torch.load(file, weights_only=False)",
        "import yaml; yaml.load(text, Loader)",
        "class Wide(yaml.Loader): pass\nyaml.load(text, Loader=Wide)",
        "from rosidl_runtime_py.utilities import get_message",
        "node.create_client(kind, '~/set_parameters')",
        "ActionClient(node, kind, 'navigate')",
        "node.create_publisher(kind, message.topic, 1)",
        "node.create_publisher(kind, topic, 1)",
        "node.create_publisher(kind, f'/{name}', 1)",
        "node.create_publisher(msg_type=kind, topic='x', qos_profile=1)",
        "node.create_service(kind, request.name, answer)",
        "ActionServer(node, kind, names[0])",
    ],
)
def test_each_door_is_seen(source: str) -> None:
    assert list(doors(ast.parse(source), "vila_ros/any.py"))


@pytest.mark.parametrize(
    "source",
    [
        "import re; re.compile('x')",
        "model.eval()",
        "from urllib.parse import quote",
        "import importlib.util",
        "import torch; torch.load(file, weights_only=True)",
        "import yaml; yaml.safe_load(text)",
        "class Plain(yaml.SafeLoader): pass\nyaml.load(text, Loader=Plain)",
        "node.create_publisher(kind, '~/state', 1)",
        "node.create_publisher(kind, CMD_VEL, 1)",
        "node.create_service(kind, name, answer)",
    ],
)
def test_what_is_harmless_passes(source: str) -> None:
    assert not list(doors(ast.parse(source), "vila_ros/any.py"))
