"""Is what is about to be published the release that the tag says, and whole? Called by scripts/package."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IN_THE_SDIST = ["LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CITATION.cff"]


def first(pattern: str, path: str) -> str:
    """The first match's group in a file of the repository; empty if there is none."""
    found = re.search(pattern, (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""


def check_release(tag: str) -> None:
    """Tag, version, newest section of the changelog with a date, and citation are the same."""
    stated = {
        "src/chainrule/version.py": first(r'^__version__ = "(.+)"$', "src/chainrule/version.py"),
        "CHANGELOG.md": first(r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", "CHANGELOG.md"),
        "CITATION.cff": first(r"^version: (.+)$", "CITATION.cff"),
    }
    wrong = [f"{path} says {version or 'nothing'}" for path, version in stated.items() if f"v{version}" != tag]
    if wrong:
        sys.exit(f"error: tag: expected the version everywhere, got {tag} while {', '.join(wrong)}")


def check_contents(folder: Path) -> None:
    """The wheel holds every file of the package; the sdist holds the wheel's files, the tests and the pages."""
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    package = {p.relative_to(ROOT / "src").as_posix() for p in (ROOT / "src").rglob("*") if p.is_file()}
    package = {path for path in package if "__pycache__" not in path and ".egg-info" not in path}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    if held != package:
        sys.exit(f"error: {wheel.name}: expected the files of src, got others: {sorted(held ^ package)}")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {f"src/{path}" for path in package} | {"tests/conftest.py", "docs/index.md", *IN_THE_SDIST}
    if not wanted <= names:
        sys.exit(f"error: {sdist.name}: expected the repository, got none of {sorted(wanted - names)}")


if __name__ == "__main__":
    if sys.argv[1] == "release":
        check_release(sys.argv[2])
    else:
        check_contents(Path(sys.argv[2]))
