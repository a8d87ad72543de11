import json
import os
import subprocess
import sys

import pytest

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
