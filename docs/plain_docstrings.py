"""A Sphinx extension: docstrings as this project writes them, as reStructuredText.

They have the sections of numpydoc and are otherwise plain text, made to be read in a terminal: types stand in the
signature alone (so ``name : text`` has the description on its line), an error and its reason share a line, and formulas
are written with spaces that line up. Taken as reStructuredText ``a * b``, ``classes_`` and ``|x|`` would be markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

SECTIONS = {"Parameters", "Attributes", "Returns", "Raises"}
# What docstrings have of it: literals, references, and words that are stressed.
MARKUP = re.compile(r"(``[^`]+``|:[a-z:]+:`[^`]+`|`[^`]+`|(?<![\w*])\*[a-z][a-z ]*[a-z]\*(?![\w*]))")
FORMULA = re.compile(r"[A-Za-z_][\w.^']*(\([^)]*\)|\[[^\]]*\])* [-+]?= ")  # how a line begins that is one
COLUMNS = re.compile(r"\S {3,}\S")  # spaces that line something up
ENTRY = re.compile(r"(?P<names>\*{0,2}[A-Za-z_]\w*(, \*{0,2}\w+)*) : (?P<text>.*)")
KIND = r"[A-Z]\w+(?:Error|Warning|Report)"
ERROR = re.compile(rf"(?P<names>{KIND}(, {KIND})*)\s+(?P<text>.*)")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True}


def process(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """The hook of autodoc: rewrite ``lines`` in place."""
    lines[:] = as_rst(lines)


def as_rst(lines: list[str]) -> list[str]:
    """Section by section and paragraph by paragraph."""
    out: list[str] = []
    literal = False  # after a paragraph that ends in "::"
    for paragraph in paragraphs(lines):
        if literal and paragraph[0].startswith(" "):
            out += paragraph
        elif paragraph[0] in SECTIONS and len(paragraph) > 1 and set(paragraph[1]) == {"-"}:
            out += section(paragraph[0], paragraph[2:])
        elif paragraph[0].startswith(">>>"):
            out += [re.sub(r"\s*# doctest: .*", "", line) for line in paragraph]
        else:
            out += formula(paragraph) if is_formula(paragraph) else text(paragraph)
            literal = paragraph[-1].endswith("::")
        out.append("")
    return out


def paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """Runs of lines that are not empty."""
    run: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            run.append(line.rstrip())
        elif run:
            yield run
            run = []


def section(title: str, body: list[str]) -> list[str]:
    """A list of names with a text each; what names nothing is a paragraph."""
    out = [f".. rubric:: {title}", ""]
    for entry in entries(body):
        joined = " ".join(line.strip() for line in entry)
        found = ENTRY.fullmatch(joined) or ERROR.fullmatch(joined)
        if found:
            names = ", ".join(f"``{name}``" for name in found["names"].split(", "))
            out += [names, f"    {escaped(found['text'])}", ""]
        else:
            out += [escaped(joined), ""]
    return out


def entries(body: list[str]) -> Iterator[list[str]]:
    """Each entry with the lines that are indented beneath it; lines of prose stay together."""
    run: list[str] = []
    for line in body:
        begins = not line.startswith(" ") and (ENTRY.match(line) or ERROR.match(line))
        if begins and run:
            yield run
            run = []
        run.append(line)
    if run:
        yield run


def is_formula(paragraph: list[str]) -> bool:
    """Whether half of the lines or more begin as one or are lined up."""
    hits = sum(bool(FORMULA.match(line.strip()) or COLUMNS.search(line)) for line in paragraph)
    return 2 * hits >= len(paragraph)


def formula(paragraph: list[str]) -> list[str]:
    """Its lines and spaces as they are; a table scrolls sideways rather than wrap. See static/reference.css."""
    lined_up = sum(bool(COLUMNS.search(line)) for line in paragraph)
    kind = "formula table" if lined_up > 1 else "formula"
    return [f".. container:: {kind}", "", *(f"    | {escaped(line)}" for line in paragraph)]


def text(paragraph: list[str]) -> list[str]:
    """Prose; the items of a list keep their bullets."""
    return re.sub(r"^\\\* ", "* ", escaped("\n".join(paragraph)), flags=re.MULTILINE).split("\n")


def escaped(line: str) -> str:
    """Markup stays, `single` backticks are literals, and every other sign is itself."""
    parts = MARKUP.split(line)
    for i, part in enumerate(parts):
        if i % 2 == 0:
            parts[i] = re.sub(r"([\\*_|`])", r"\\\1", part)
        elif part[0] == "`" and part[1] != "`":
            parts[i] = f"`{part}`"
    return "".join(parts)
