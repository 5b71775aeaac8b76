"""What the pages say is there: links, anchors and paths exist, and every public name has its place in the reference."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

import chainrule as cr

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob(".github/**/*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("docker/*.md"),
    ]
)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
# A path in backticks: from the root of the repository, or as architecture.md shortens it, from the package.
PATH = re.compile(r"`((?:\.?[\w-]+/)+[\w.-]*)`")
FOLDERS = {path.name for base in (ROOT, ROOT / "src/chainrule") for path in base.iterdir() if path.is_dir()}
MADE_BY_A_USER = {"runs", "build", "dist", "site"}

pytestmark = pytest.mark.skipif(not (ROOT / "docs/index.md").is_file(), reason="the pages are not beside the tests")


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def by_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_links_of_a_page_lead_somewhere(page):
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    for path, anchor in LINK.findall(text):
        target = (page.parent / path) if path else page
        assert target.exists(), f"{by_name(page)}: {path} does not exist"
        assert not anchor or target.suffix != ".md" or anchor in anchors(target), f"{by_name(page)}: {path}#{anchor}"


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "CHANGELOG.md"], ids=by_name)
def test_paths_that_a_page_names_exist(page):
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    for path in PATH.findall(text):
        if path.split("/")[0] not in FOLDERS - MADE_BY_A_USER:
            continue  # a path of the user's, not of the repository
        assert (ROOT / path).exists() or (ROOT / "src/chainrule" / path).exists(), f"{by_name(page)}: {path}"


def test_every_public_name_is_on_one_reference_page():
    directive = re.compile(r"^\.\. auto(?:class|function|exception):: chainrule\.(\w+)$", re.MULTILINE)
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs/reference").glob("*.md")]
    named = [name for page in pages for name in directive.findall(page)]
    assert sorted(named) == sorted([*cr.__all__, "MLPClassifier", "MLPRegressor"])
