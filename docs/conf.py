"""Sphinx's settings: the pages of this folder and the API reference, built by scripts/docs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import chainrule

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
REPOSITORY = "https://github.com/chainrule/chainrule"
sys.path.insert(0, str(HERE))

project = "chainrule"
author = project_copyright = "The chainrule developers"
version = release = chainrule.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.viewcode", "myst_parser", "plain_docstrings"]
smartquotes = False  # "auto" is typed with these quotes
myst_heading_anchors = 3  # as GitHub has them, so that links to sections work in both places

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"chainrule {release}"
html_static_path = ["static"]
html_css_files = ["reference.css"]
html_theme_options = {"source_repository": REPOSITORY, "source_branch": "main", "source_directory": "docs/"}


def link_to_the_repository(app: Sphinx, page: str, source: list[str]) -> None:
    """Links that GitHub follows and Sphinx would not: out of this folder, and to a folder in it."""
    here = (HERE / page).parent

    def as_page_or_address(match: re.Match[str]) -> str:
        path, anchor = match[1], match[2] or ""
        target = (here / path).resolve()
        if target.is_relative_to(HERE) and target.is_dir():
            return f"]({path.rstrip('/')}/index.md{anchor})"
        if target.is_relative_to(HERE) or not target.exists():
            return match[0]  # a page of ours; or a mistake, which Sphinx reports
        kind = "tree" if target.is_dir() else "blob"
        return f"]({REPOSITORY}/{kind}/main/{target.relative_to(ROOT).as_posix()}{anchor})"

    source[0] = re.sub(r"\]\(([\w./-]+)(#[\w-]*)?\)", as_page_or_address, source[0])


def setup(app: Sphinx) -> None:
    app.connect("source-read", link_to_the_repository)
