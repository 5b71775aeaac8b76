"""The example that a test file is about: as a module, as a script, and as the page of the documentation shows it."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-gradients-are-computed.md"


@pytest.fixture(scope="module")
def example(request: pytest.FixtureRequest) -> Path:
    """The file that the test module names in ``EXAMPLE``."""
    return ROOT / "examples" / request.module.EXAMPLE


@pytest.fixture(scope="module")
def lesson(example: Path) -> ModuleType:
    """The example, imported from its path: examples/ is no package."""
    spec = importlib.util.spec_from_file_location(example.stem, example)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script(example: Path) -> subprocess.CompletedProcess[str]:
    """The example, run as a student runs it; a warning is an error here too."""
    command = [sys.executable, "-W", "error", str(example)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def documented(example: Path) -> str:
    """What the page says that the script prints."""
    page = PAGE.read_text(encoding="utf-8")
    return re.search(rf"```console\n\$ python examples/{example.name}\n(.*?)```", page, re.DOTALL)[1]


@pytest.fixture
def assert_same_output():
    """Equal but for spaces; numbers that are no rounding errors agree to two digits."""
    number = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?")

    def check(found: str, expected: str) -> None:
        skeletons = ["".join(number.sub("#", text).split()) for text in (found, expected)]
        assert skeletons[0] == skeletons[1], "the page is out of date: run the script and paste what it prints"
        for a, b in zip(number.findall(found), number.findall(expected), strict=True):
            # Below, rounding decides: it differs from one processor to the next.
            if max(abs(float(a)), abs(float(b))) > 1e-3:
                assert float(a) == pytest.approx(float(b), rel=0.02)

    return check
