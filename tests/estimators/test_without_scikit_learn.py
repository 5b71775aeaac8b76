"""`import chainrule` needs no scikit-learn, and says so if the estimators are asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import chainrule

ROOT = Path(chainrule.__file__).parent
WITHOUT = """
import sys
sys.modules["sklearn"] = None  # as if it were not installed
import chainrule as cr
try:
    cr.MLPClassifier
except ImportError as error:
    assert isinstance(error, cr.OptionError)
    print(error)
try:
    cr.Perceptron
except AttributeError as error:
    print(error)
"""


def test_what_is_missing_is_said():
    ran = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert "scikit-learn is not installed\nhint: pip install 'chainrule[sklearn]'" in ran.stdout
    assert "no attribute 'Perceptron'" in ran.stdout


def test_scikit_learn_is_imported_in_one_room():
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "sklearn" for name in names):
                assert path.parent.name == "estimators", f"{path} imports scikit-learn"
