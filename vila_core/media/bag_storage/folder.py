"""The files of a bag, and what the metadata.yaml of rosbag2 says of them."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from vila_core.errors import MediaError
from vila_core.media.bag_storage.common import IMAGE_KINDS, shown

_SUFFIXES = (".mcap", ".db3", ".mcap.zstd", ".db3.zstd")
_METADATA = "metadata.yaml"
_LARGEST_METADATA = 1 << 22  # bytes; a bag of 10,000 files has a tenth


@dataclass(frozen=True, slots=True)
class BagPlan:
    """files: in their order. promised: messages by topic of images, as metadata.yaml tells; empty if there is none."""

    files: tuple[Path, ...]
    promised: dict[str, int] = field(default_factory=dict)


def bag_plan(path: Path) -> BagPlan:
    """Return the files of a bag: path itself, or those of a rosbag2 folder.

    Of the paths in metadata.yaml the last part alone counts, as a file of the folder; older rosbag2 wrote more. Raises
    MediaError for a file that is not there, is none (a FIFO, a device) or may not be read; for a folder that is no bag;
    and for a metadata.yaml that is damaged.
    """
    if not is_there(path):
        raise MediaError(f"{path} cannot be read as a bag: there is no such file")
    if not path.is_dir():
        check_file(path)
        return BagPlan((path,))
    description = path / _METADATA
    plan = _listed(description) if is_there(description) else BagPlan(_unlisted_files(path))
    for file in plan.files:
        if not is_there(file):
            raise MediaError(f"{path} is not whole: its {_METADATA} lists {shown(file.name)}, which is missing")
        check_file(file)
    return plan


def is_there(path: Path) -> bool:
    """True if a path can be looked at. Raises MediaError where that is not allowed."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a zero byte in a name
        return False
    except OSError as err:
        raise MediaError(f"{path} cannot be read as a bag: {err.strerror}") from err
    return True


def check_file(path: Path) -> None:
    """Raise MediaError unless the path is a file that may be read; a FIFO would wait for somebody who writes."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        raise MediaError(f"{path} cannot be read as a bag: it is {kinds.get(stat.S_IFMT(mode), 'a device')}, no file")
    if not os.access(path, os.R_OK):
        raise MediaError(f"{path} cannot be read as a bag: permission denied")


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases: rosbag2 writes none, and nested ones grow without bound when they are merged."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it holds an alias (*name), which rosbag2 does not write")
        return super().compose_node(parent, index)


def _listed(description: Path) -> BagPlan:
    check_file(description)
    if description.stat().st_size > _LARGEST_METADATA:
        raise _damaged(description, f"it holds more than {_LARGEST_METADATA} bytes")
    try:
        with description.open(encoding="utf-8") as stream:
            told = yaml.load(stream, Loader=_PlainLoader)
    except Exception as err:  # for a tag that does not fit its value, the constructors of YAML raise anything
        raise _damaged(description, f"{type(err).__name__}: {shown(' '.join(str(err).split()), 200)}") from err
    told = _entry(description, told, "rosbag2_bagfile_information", dict)
    names = _entry(description, told, "relative_file_paths", list)
    for name in names:
        if not isinstance(name, str) or not PurePosixPath(name).name or name.endswith(".."):
            raise _damaged(description, f"relative_file_paths holds {shown(repr(name))}, not the name of a file")
    if not names:
        raise MediaError(f"{description.parent} cannot be read as a bag: its {_METADATA} lists no file")
    files = tuple(description.parent / PurePosixPath(name).name for name in names)
    if len(set(files)) < len(files):
        raise _damaged(description, "relative_file_paths names a file twice")
    return BagPlan(files, _promised(description, told))


def _promised(description: Path, told: dict[str, Any]) -> dict[str, int]:
    """Messages by topic of images; an old or foreign writer may list none."""
    found: dict[str, int] = {}
    if "topics_with_message_count" not in told:
        return found
    for topic in _entry(description, told, "topics_with_message_count", list):
        if not isinstance(topic, dict):
            raise _damaged(description, f"topics_with_message_count holds {shown(repr(topic))}, not a mapping")
        about = _entry(description, topic, "topic_metadata", dict)
        name, count = _entry(description, about, "name", str), _entry(description, topic, "message_count", int)
        if _entry(description, about, "type", str) in IMAGE_KINDS:
            found[name] = found.get(name, 0) + count
    return found


def _entry(description: Path, mapping: Any, key: str, kind: type) -> Any:
    """The value of a key. Raises MediaError unless it is there and of its kind."""
    if not isinstance(mapping, dict) or key not in mapping:
        raise _damaged(description, f"it has no {key!r} where that is due")
    value = mapping[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        names = {dict: "a mapping", list: "a list", str: "a text", int: "a whole number"}
        raise _damaged(description, f"{key} = {shown(repr(value))} is not {names[kind]}")
    return value


def _damaged(description: Path, why: str) -> MediaError:
    return MediaError(
        f"{description.parent} cannot be read as a bag: its {_METADATA} is damaged: {why}; "
        f"`ros2 bag reindex` writes it anew, and the bag's files can be given one by one"
    )


def _unlisted_files(folder: Path) -> tuple[Path, ...]:
    """The files of a bag whose recording was ended before it could list them, by their numbers: NAME_0, NAME_1, ..."""
    try:
        files = [file for file in folder.iterdir() if file.name.endswith(_SUFFIXES)]
    except OSError as err:
        raise MediaError(f"{folder} cannot be read as a bag: {err.strerror}") from err
    if not files:
        raise MediaError(f"{folder} cannot be read as a bag: it holds no {_METADATA}, and no .mcap or .db3 file")
    ordered = sorted(files, key=lambda file: (_numbers(file), file.name))
    for before, after in zip(ordered, ordered[1:], strict=False):
        if _numbers(before) and _numbers(after) and int(_numbers(after)[0]) > int(_numbers(before)[0]) + 1:
            raise MediaError(
                f"{folder} is not whole: a file between {before.name} and {after.name} is missing, and there is no "
                f"{_METADATA}; give the files one by one"
            )
    return tuple(ordered)


def _numbers(file: Path) -> list[int]:
    """The number at the end of a file's name, or none."""
    return [int(part) for part in re.findall(r"_(\d{1,9})$", file.name.split(".")[0])]
