"""Whose threads run beside the models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from vila_core.machine import threads

_CHILD = """
import json
import numpy as np
from threadpoolctl import threadpool_info
from vila_core.engine.backend import EMBEDDED_CHECKPOINT, load_backend

def threads():
    return [each["num_threads"] for each in threadpool_info() if each.get("threading_layer") == "pthreads"]

before = threads()
load_backend("torch", EMBEDDED_CHECKPOINT).close()
print(json.dumps({"before": before, "after": threads()}))
"""


def test_numpy_has_no_threads_that_spin_beside_the_models():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", _CHILD], env=environment, capture_output=True, text=True, check=True)
    threads = json.loads(done.stdout.splitlines()[-1])
    if not threads["before"]:
        pytest.skip("numpy has no pool of its own here")
    assert set(threads["after"]) == {1}


@pytest.mark.parametrize(
    ("built", "file", "kept"),
    [
        (None, "/usr/lib/libopenblas.so.0", True),  # torch is not loaded yet
        ("BLAS_INFO=mkl", "/usr/lib/libopenblas.so.0", False),
        ("BLAS_INFO=open", "/usr/lib/libopenblas.so.0", True),  # torch may multiply by it, too
        ("BLAS_INFO=open", "/venv/numpy.libs/libscipy_openblas64_.so", False),
        ("BLAS_INFO=open", "/venv/torch.libs/libopenblas.so.0", True),
    ],
)
def test_what_torch_multiplies_by_keeps_its_threads(monkeypatch, built, file, kept):
    set_to = []
    library = SimpleNamespace(internal_api="openblas", threading_layer="pthreads", filepath=file)
    library.set_num_threads = set_to.append
    monkeypatch.setattr(threads, "ThreadpoolController", lambda: SimpleNamespace(lib_controllers=[library]))
    monkeypatch.setattr(threads, "_torchs_build", lambda: built)
    threads.leave_cores_to_torch()
    assert set_to == ([] if kept else [1])
