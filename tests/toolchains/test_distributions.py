"""Installed distributions, told without reading them."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from aot_build.digest import file_digest
from aot_build.toolchains import record as record_room
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

    def identity(self, *used: str) -> str:
        """As a new build takes it, of all files where none is named; `read` are those that it had
        to read."""
        self.read = []

        def digest(path: str) -> str | None:
            self.read.append(str(Path(path).relative_to(self.folder)))
            return file_digest(path) if Path(path).exists() else None

        return Distributions(digest).identity("fake-kit", used or None)

    def edit(self, name: str, old: str, new: str) -> None:
        """Keeping size and mtime, as an edit may."""
        path = self.folder / name
        stat = path.stat()
        assert len(old) == len(new) and old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


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
        f"{site.metadata.name}/RECORD",
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
    before = site.identity()
    site.edit("fake_kit/core.py", "X = 1", "X = 2")
    assert site.identity() != before
    site.edit("fake_kit/core.py", "X = 2", "X = 1")
    assert site.identity() == before


def test_files_touched_after_installing_are_still_told_by_content(site: Site) -> None:
    before = site.identity()
    # As an installer does that links files out of its cache into the next environment.
    os.link(site.folder / "fake_kit" / "core.py", site.folder / "another-link")
    assert site.identity() == before


USED, UNUSED = "fake_kit/core.py", "fake_kit/more.py"


def test_only_what_is_used_is_looked_at(site: Site) -> None:
    site.install(**{UNUSED: "Y = 1\n"})
    before = site.identity(USED)
    assert before == site.identity(UNUSED) == site.identity(), "of an unedited one all are equal"
    site.edit(UNUSED, "Y = 1", "Y = 2")
    assert site.identity(USED) == before and site.read == []
    edited = {site.identity(UNUSED), site.identity(USED, UNUSED)}
    assert before not in edited and len(edited) == 1
    (site.folder / UNUSED).unlink()
    assert site.identity(USED) == before != site.identity(UNUSED)
    distributions = Distributions(file_digest)
    distributions.identity("fake-kit", (USED,))
    named = {os.path.basename(path) for path in distributions.files}
    assert named == {"core.py", "METADATA", "RECORD"}


def test_a_file_that_nobody_recorded_is_told_by_content(site: Site) -> None:
    before = site.identity("fake_kit/tuned.json")
    assert before == site.identity(), "absent, and not recorded"
    (site.folder / "fake_kit/tuned.json").write_text("{}")
    tuned = site.identity("fake_kit/tuned.json")
    assert tuned != before and site.read == ["fake_kit/tuned.json"]
    (site.folder / "fake_kit/tuned.json").write_text("[]")
    assert site.identity("fake_kit/tuned.json") not in (before, tuned)


def test_an_edited_tree_that_was_copied_with_its_times(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = site.identity()
    (site.folder / USED).write_text("X = 2\n")
    copied = Site(tmp_path / "copied")
    shutil.copytree(site.folder, copied.folder)
    shutil.copy2(site.metadata / "RECORD", copied.metadata / "RECORD")  # Last, as ctime has it.
    monkeypatch.setattr(sys, "path", [str(copied.folder), *sys.path])
    assert copied.identity() != before


def test_another_order_of_its_record_is_the_same(site: Site) -> None:
    before = site.identity()
    record = site.metadata / "RECORD"
    record.write_text("".join(reversed(record.read_text().splitlines(keepends=True))))
    assert site.identity() == before


def test_whose_files_were_used(site: Site) -> None:
    (site.metadata / "top_level.txt").write_text("fake_kit\n")
    other = site.folder / "other_kit-2.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other-kit\nVersion: 2.0\n")
    (other / "top_level.txt").write_text("fake_kit\n")
    (other / "RECORD").write_text("fake_kit/theirs.py,,\n")
    names = ("fake_kit/core.py", "fake_kit/theirs.py", "fake_kit/nobodys.json")
    paths = [*(str(site.folder / name) for name in names), "/elsewhere/fake_kit/x.py"]
    assert Distributions(file_digest).used("fake_kit", paths) == {
        "fake-kit": ("fake_kit/core.py", "fake_kit/nobodys.json"),
        "other-kit": ("fake_kit/nobodys.json", "fake_kit/theirs.py"),
    }
    assert Distributions(file_digest).used("no_such_kit", paths) == {}


def test_contents_for_people(site: Site) -> None:
    distributions = Distributions(file_digest)
    ((name, path, digest),) = distributions.contents("fake-kit", r"/co\w+\.py")
    assert (name, path) == ("core.py", str(site.folder / USED)) and digest.startswith("sha256=")
    assert distributions.contents("no-such-kit", ".*") == []


def test_a_record_is_read_once(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = site.metadata / "RECORD"
    kept = tmp_path / "kept"

    def identity() -> str:
        return Distributions(file_digest, records=kept).identity("fake-kit")

    before = identity()
    assert not kept.exists(), "so young a file proves nothing by its stat"
    monkeypatch.setattr(record_room, "is_racy", lambda row, now: False)
    assert identity() == before
    (remembered,) = kept.iterdir()
    content = remembered.read_bytes()
    assert content.count(b"fake-kit") == 1
    remembered.write_bytes(content.replace(b"fake-kit", b"cake-kit"))
    assert identity() != before, "what is remembered is believed"
    os.utime(record)
    assert identity() == before
    for broken in (b"", b"nonsense", content[:-3]):
        remembered.write_bytes(broken)
        assert identity() == before


@pytest.mark.pip
def test_an_edit_of_what_pip_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "real_kit-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        folder = "real_kit-1.0.dist-info"
        archive.writestr("real_kit.py", "X = 1\n")
        archive.writestr(
            f"{folder}/METADATA", "Metadata-Version: 2.1\nName: real-kit\nVersion: 1\n"
        )
        archive.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{folder}/RECORD", "")
    site = Site(tmp_path / "site")
    words = ["install", "--no-index", "--no-deps", "--target", site.folder, wheel]
    subprocess.run([sys.executable, "-m", "pip", "-q", *words], check=True, timeout=60)
    monkeypatch.setattr(sys, "path", [str(site.folder), *sys.path])

    def identity() -> str:
        return Distributions(file_digest).identity("real-kit", ("real_kit.py",))

    before = identity()
    assert before != "absent"
    os.utime(site.folder / "real_kit.py")
    assert identity() == before, "a touch is no edit"
    site.edit("real_kit.py", "X = 1", "X = 2")
    assert identity() != before


def test_what_was_looked_for_in_vain_may_appear(site: Site) -> None:
    unedited = site.identity()
    assert site.identity("fake_kit/more.txt") == unedited
    (site.folder / "fake_kit/more.txt").touch()
    assert site.identity("fake_kit/more.txt") != unedited


def test_a_folder_that_was_listed_has_the_names_that_were_recorded(site: Site) -> None:
    unedited = site.identity()
    (site.folder / "fake_kit/__pycache__").mkdir()
    assert site.identity("fake_kit/") == unedited
    (site.folder / "fake_kit/more.txt").touch()
    assert site.identity("fake_kit/") != unedited


def test_metadata_belongs_to_its_distribution(site: Site) -> None:
    assert Distributions(file_digest).owners(site.metadata.name) == ("fake_kit",)
