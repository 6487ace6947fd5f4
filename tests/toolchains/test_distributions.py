"""Installed distributions, told without reading them."""

import base64
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aot_build.digest import file_digest
from aot_build.toolchains.distributions import Distributions
from aot_build.toolchains.python import find_python


class Site:
    """A folder on sys.path with one installed distribution, `fake-kit`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metadata = folder / "fake_kit-1.0.dist-info"
        self.read: list[str] = []

    def install(self, *, version: str = "1.0", hashes: bool = True, **files: str) -> None:
        named = {"fake_kit/__init__.py": "", "fake_kit/core.py": "X = 1\n", **files}
        named[f"{self.metadata.name}/METADATA"] = (
            f"Metadata-Version: 2.1\nName: fake-kit\nVersion: {version}\n"
        )
        named[f"{self.metadata.name}/INSTALLER"] = "pip\n"
        rows = []
        for name, content in named.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            taken = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest())
            told = f"sha256={taken.decode().rstrip('=')}" if hashes else ""
            rows.append(f"{name},{told},{len(content) if hashes else ''}")
        rows += [f"{self.metadata.name}/RECORD,,", "fake_kit/__pycache__/core.pyc,,"]
        rows += ["../../bin/fake-kit,sha256=abc,3"]
        (self.metadata / "RECORD").write_text("\n".join(rows) + "\n")

    def identity(self) -> str:
        """As a new build takes it; `read` are the files that it had to read."""
        self.read = []

        def digest(path: str) -> str | None:
            self.read.append(str(Path(path).relative_to(self.folder)))
            return file_digest(path) if Path(path).exists() else None

        return Distributions(digest).identity("fake-kit")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site(tmp_path / "site")
    made.folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(made.folder), *sys.path])
    made.install()
    return made


def test_an_unedited_one_is_not_read(site: Site) -> None:
    assert site.identity() == site.identity()
    assert site.read == []


def test_an_edit_of_another_size_is_seen_and_its_undoing(site: Site) -> None:
    before = site.identity()
    core = site.folder / "fake_kit" / "core.py"
    core.write_text("X = 12\n")
    edited = site.identity()
    assert edited != before and site.read == ["fake_kit/core.py"]
    core.write_text("X = 13\n")
    assert site.identity() not in (before, edited)
    core.write_text("X = 1\n")
    assert site.identity() == before


def test_a_removed_file_is_seen(site: Site) -> None:
    before = site.identity()
    (site.folder / "fake_kit" / "core.py").unlink()
    assert site.identity() != before


def test_another_version_or_content_is_seen(site: Site) -> None:
    before = site.identity()
    site.install(version="1.1")
    upgraded = site.identity()
    site.install(**{"fake_kit/more.py": ""})
    assert len({before, upgraded, site.identity()}) == 3


@pytest.mark.parametrize(
    "name", ["INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"]
)
def test_how_it_was_installed_does_not_matter(site: Site, name: str) -> None:
    before = site.identity()
    site.install(**{f"{site.metadata.name}/{name}": "whatever"})
    assert site.identity() == before


def test_where_it_is_installed_does_not_matter(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = site.identity()
    other = Site(tmp_path / "another" / "deeper")
    other.folder.mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(other.folder), *sys.path])
    other.install()
    assert other.identity() == before


def test_without_hashes_the_files_are_read(site: Site) -> None:
    site.install(hashes=False)
    before = site.identity()
    assert set(site.read) == {
        "fake_kit/__init__.py", "fake_kit/core.py", f"{site.metadata.name}/METADATA",
    }  # fmt: skip
    (site.folder / "fake_kit" / "core.py").write_text("X = 2\n")
    assert site.identity() != before


def test_files_are_told_for_the_snapshot(site: Site) -> None:
    distributions = Distributions(lambda path: None)
    distributions.identity("fake-kit")
    named = {str(Path(path).relative_to(site.folder)) for path in distributions.files}
    assert named == {
        "fake_kit/__init__.py", "fake_kit/core.py", f"{site.metadata.name}/METADATA",
    }  # fmt: skip


def test_an_absent_one_and_its_coming(site: Site) -> None:
    assert Distributions(lambda path: None).identity("no-such-kit") == "absent"
    assert site.identity() != "absent"


def test_owners_of_import_packages(site: Site) -> None:
    (site.metadata / "top_level.txt").write_text("fake_kit\n")
    distributions = Distributions(lambda path: None)
    assert distributions.owners("fake_kit") == ("fake-kit",)
    assert distributions.owners("no_such_kit") == ()
    assert distributions.owners("json") == ()


def test_the_interpreter(fresh_python: Callable[..., str]) -> None:
    here = find_python()
    assert here.command == (sys.executable,) and here.version.startswith("3.")
    script = (
        "from aot_build.toolchains.python import find_python as f; print(f().digest, f().version)"
    )
    assert fresh_python(script) == f"{here.digest} {here.version}\n"
    assert fresh_python(script, PYTHONOPTIMIZE="1").split()[0] != here.digest, "no assertions"


def test_an_edit_that_keeps_size_and_mtime_is_seen_and_its_undoing(site: Site) -> None:
    path = site.folder / "fake_kit" / "core.py"
    before, stat = site.identity(), path.stat()
    path.write_text("X = 2\n")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert site.identity() != before
    path.write_text("X = 1\n")
    assert site.identity() == before


def test_files_touched_after_installing_are_still_told_by_content(site: Site) -> None:
    before = site.identity()
    # As an installer does that links files out of its cache into the next environment.
    os.link(site.folder / "fake_kit" / "core.py", site.folder / "another-link")
    assert site.identity() == before
