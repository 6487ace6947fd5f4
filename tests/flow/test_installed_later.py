"""What an action asked for in vain is installed, or found in another place, one day."""

import pytest

from tests.flow.settled import settle
from tests.flow.single import text_of

VERSION = """\
    import importlib.metadata, pathlib
    try:
        found = importlib.metadata.version("Nowhere.Else")
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    pathlib.Path(out_dir, "out.txt").write_text(found)
"""
IMPORT = """\
    import pathlib
    try:
        import nowhere_else
        found = nowhere_else.VERSION
    except ImportError:
        found = "none"
    pathlib.Path(out_dir, "out.txt").write_text(found)
"""


def installed(site, name, version, *, recorded=True):
    site.mkdir(exist_ok=True)
    (site / f"{name}.py").write_text(f"VERSION = '{version}'\n")
    if recorded:
        folder = site / f"{name}-{version}.dist-info"
        folder.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (folder / "METADATA").write_text(text)
        (folder / "RECORD").write_text(f"{name}.py,,\n{folder.name}/METADATA,,\n")


@pytest.mark.parametrize(("body", "there"), [(VERSION, True), (IMPORT, False)])
def test_what_is_installed_later(python_kernel, tmp_path, body, there):
    """Who asked in vain gets another answer, and the snapshot knows; a second one, installed
    where it is found first, is another answer again."""
    project = python_kernel(body)
    first, second = tmp_path / "a/site-packages", tmp_path / "b/site-packages"
    project.env["PYTHONPATH"] += f":{first}:{second}"
    first.parent.mkdir()
    second.parent.mkdir()
    if there:
        installed(second, "other", "1")
    settle(project)
    installed(second, "another", "1")
    assert project.build()["executed"] == 0
    settle(project)
    installed(second, "nowhere_else", "1")
    assert project.build()["executed"] == 1
    assert text_of(project) == "1"
    settle(project)
    installed(first, "nowhere_else", "2")
    assert project.build()["executed"] == 1
    assert text_of(project) == "2"


def test_what_somebody_puts_there_by_hand(python_kernel, tmp_path):
    project = python_kernel(IMPORT)
    site = tmp_path / "site-packages"
    site.mkdir()
    project.env["PYTHONPATH"] += f":{site}"
    settle(project)
    installed(site, "nowhere_else", "1", recorded=False)
    assert project.build()["executed"] == 1
    assert text_of(project) == "1"
    installed(site, "nowhere_else", "3", recorded=False)
    assert project.build()["executed"] == 1
    assert text_of(project) == "3"
