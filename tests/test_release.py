"""A tag is published only if version, changelog and citation are of that release: scripts/package.py."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import chainrule as cr

SOURCE = Path(__file__).parent.parent / "scripts/package.py"
if not SOURCE.is_file():
    pytest.skip("the scripts are not beside the tests", allow_module_level=True)
specification = importlib.util.spec_from_file_location("package", SOURCE)
package = importlib.util.module_from_spec(specification)
specification.loader.exec_module(package)


def test_version_changelog_and_citation_are_of_one_release():
    package.check_release(f"v{cr.__version__}")


@pytest.mark.parametrize("tag", ["v9.9.9", cr.__version__, "v"])
def test_another_tag_is_refused(tag):
    with pytest.raises(SystemExit, match=f"expected the version everywhere, got {tag} while .*CHANGELOG.md says"):
        package.check_release(tag)


def test_a_changelog_without_a_date_is_no_release(tmp_path, monkeypatch):
    for path in ("src/chainrule/version.py", "CITATION.cff", "CHANGELOG.md"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        text = (package.ROOT / path).read_text(encoding="utf-8")
        (tmp_path / path).write_text(text.replace(f"[{cr.__version__}] - 20", f"[{cr.__version__}] "), encoding="utf-8")
    monkeypatch.setattr(package, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match=r"while CHANGELOG\.md says nothing"):
        package.check_release(f"v{cr.__version__}")
