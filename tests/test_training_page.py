"""The examples of docs/training.md run as they stand, one after the other."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import chainrule as cr

PAGE = Path(__file__).parents[1] / "docs" / "training.md"
DIGITS = Path(cr.__file__).parent / "data" / "digits.npz"


def test_the_page(tmp_path, monkeypatch, capsys):
    shutil.copy(DIGITS, tmp_path)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert {"log.jsonl", "gradient_norms.svg"} <= {path.name for path in tmp_path.iterdir()}
    shown = re.search(r"print\(finding\)  # (.*)", "".join(blocks))
    assert shown[1] in capsys.readouterr().out
