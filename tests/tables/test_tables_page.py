"""The example of docs/tables.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"


def test_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    lines = [
        f"{i},{9000 + i % 3},{'' if i % 9 == 4 else i % 50},{'garden' if i % 2 else '?'},{i % 50 * 2.5}"
        for i in range(200)
    ]
    rng.shuffle(lines)
    Path("houses.csv").write_text("id,postcode,size,with,price\n" + "\n".join(lines) + "\n")
    Path("new.csv").write_text("size,with,postcode\n25,garden,9001\n,pool,9002\n")
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    names: dict[str, object] = {}
    exec(compile(block, str(PAGE), "exec"), names)
    assert names["encoder"].names[:2] == ("postcode = 9000", "postcode = 9001")
    assert names["predictions"].shape == (2,)
    assert np.isfinite(names["predictions"]).all()
