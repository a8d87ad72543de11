"""Serve pip: setuptools installs the Python packages, CMake everything else.

The CMakeLists.txt is the one that colcon uses. Its install tree (messages, launch files, parameters, node
executables, the CPU's kernels) becomes the wheel's data files, so an environment that pip has filled is an ament
prefix. Where ROS is missing the wheel holds the Python packages alone.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from distutils.command.install_data import install_data
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.editable_wheel import editable_wheel

SOURCE = Path(__file__).resolve().parent
LINKED = ("launch", "config", "examples")  # by an editable install
KERNELS = SOURCE / "vila_core" / "kernels" / "lib"  # of an editable install: where its Python files are


def ros_prefix() -> Path | None:
    """Return the prefix that holds the message generators, None without ROS."""
    spec = importlib.util.find_spec("rosidl_adapter")
    folders = Path(spec.origin).parents if spec and spec.origin else ()
    return next((f for f in folders if (f / "share/rosidl_default_generators/cmake").is_dir()), None)


def cmake_install(prefix: Path, kernels: Path | None = None) -> None:
    """Build what CMakeLists.txt makes besides Python packages, and install it to the prefix.

    kernels: where the compiled ones go, if not among the prefix's Python packages.
    """
    ros = str(ros_prefix())
    env = dict(os.environ)
    for name, separator in (("AMENT_PREFIX_PATH", os.pathsep), ("CMAKE_PREFIX_PATH", os.pathsep)):
        env[name] = separator.join([ros, *filter(None, [env.get(name)])])
    with tempfile.TemporaryDirectory() as build:
        options = {
            "INTERFACES_ONLY": "ON",
            "BUILD_TESTING": "OFF",
            "CMAKE_BUILD_TYPE": "Release",
            "CMAKE_INSTALL_PREFIX": prefix,
            "Python3_EXECUTABLE": sys.executable,
            **({"KERNELS_DESTINATION": kernels} if kernels else {}),
        }
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        definitions = [f"-D{name}={value}" for name, value in options.items()]
        run = [["cmake", "-S", SOURCE, "-B", build, *generator, *definitions]]
        run += [["cmake", "--build", build, "--parallel", str(os.cpu_count())], ["cmake", "--install", build]]
        for command in run:
            subprocess.run(command, env=env, check=True)
    for stray in prefix.glob("lib/**/vila_nav-*.egg-info"):  # pip writes the metadata of this name
        shutil.rmtree(stray)


class InstallData(install_data):
    """Put the CMake install tree into the wheel."""

    def run(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder)
            cmake_install(tree)
            files = [f for f in tree.rglob("*") if f.is_file()]
            self.data_files = [(str(f.parent.relative_to(tree)), [str(f)]) for f in files]
            super().run()


class EditableWheel(editable_wheel):
    """Editable wheels carry no data files: install to sys.prefix itself. `pip uninstall` leaves them."""

    def run(self) -> None:
        if ros_prefix():
            share = Path(sys.prefix, "share/vila_nav")
            for name in LINKED:  # of older sources, as a link or as files
                if (share / name).is_symlink():
                    (share / name).unlink()
                shutil.rmtree(share / name, ignore_errors=True)
            shutil.rmtree(KERNELS, ignore_errors=True)
            cmake_install(Path(sys.prefix), KERNELS)
            for name in LINKED:
                link_files(SOURCE / name, share / name)
        super().run()


def link_files(source: Path, folder: Path) -> None:
    """Make each installed file a link to its source: edits take effect at once, and `ros2 launch` finds the files.

    It does not look into a folder that is a link. A new file needs another `pip install -e`.
    """
    for file in source.rglob("*"):
        if file.is_file():
            installed = folder / file.relative_to(source)
            installed.unlink()
            installed.symlink_to(file)


class RosDistribution(Distribution):
    """A distribution that depends on the platform if it holds messages."""

    def has_ext_modules(self) -> bool:
        return ros_prefix() is not None


setup(
    distclass=RosDistribution,
    cmdclass={"install_data": InstallData, "editable_wheel": EditableWheel},
    data_files=[("share/vila_nav", ["package.xml"])] if ros_prefix() else [],
)
