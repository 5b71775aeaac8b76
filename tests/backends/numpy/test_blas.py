"""The name of OpenBLAS's kernels, as `doctor` and `run.json` show it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from chainrule.backends.numpy import blas


def test_the_kernels_have_the_name_that_was_asked_for():
    if not blas.core_name():
        pytest.skip("NumPy has another BLAS here")
    ask = "from chainrule.backends.numpy import blas; print(blas.core_name())"
    environment = os.environ | {blas.VARIABLE: "Haswell"}
    found = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "Haswell"


def test_importing_the_library_changes_no_environment():
    code = (
        "import os; old = dict(os.environ); import chainrule; chainrule.backend('cpu'); assert dict(os.environ) == old"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
