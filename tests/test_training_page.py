"""The examples of docs/training.md and docs/losses-and-layers.md run as they stand, one after the other."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import chainrule as cr

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "training.md"
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
    printed = capsys.readouterr().out
    assert shown[1] in printed
    said = re.findall(r"^    lambda: .*,  # (.*)$", "".join(blocks), re.M)
    assert len(said) == 4
    assert all(text in printed for text in said)


def test_the_nets_on_the_losses_and_layers_page(rng):
    page = (DOCS / "losses-and-layers.md").read_text(encoding="utf-8")
    names: dict[str, object] = {"cr": cr, "X": rng.normal(size=(50, 8))}
    for block in re.findall(r"```python\n(.*?)```", page, re.S):
        exec(compile(block, "losses-and-layers.md", "exec"), names)
        net = names["net"]
        assert isinstance(net, cr.Network)
        report = cr.check_gradients(net, rng.normal(size=(6, 8)), rng.normal(size=6))
        assert set(report.complex_step) == set(net.parameters())
    named = set(re.findall(r"`[^`]*?cr\.([A-Za-z]+)", page))
    assert named <= set(cr.__all__)


def test_links_between_pages_exist():
    for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
