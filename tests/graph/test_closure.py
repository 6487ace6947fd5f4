"""The answers to a trace, and what changes them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aot_build.core.trace import Trace
from aot_build.digest import bytes_digest
from aot_build.graph.closure import IGNORED, WORTH_LISTING, listing_digest

MODULE = '"""Doc."""\nimport os\n\ndef f(x):\n    return x + 1  # one\n'


def changed(project: Any, trace: Trace, edit: Callable[[], Any]) -> bool:
    """Whether a build after the edit gets other answers than one before it."""
    before = project.reader().closure(trace)
    edit()
    return bool(project.reader().closure(trace) != before)


def test_files_by_content(project: Any) -> None:
    trace = Trace(files=("{project}/a.h",))
    project.write("a.h", "one")
    assert project.reader().closure(trace)["files"] == {"{project}/a.h": bytes_digest(b"one")}
    assert changed(project, trace, lambda: project.write("a.h", "two"))
    assert not changed(project, trace, lambda: project.write("a.h", "two"))
    assert changed(project, trace, (project.folder / "a.h").unlink)


@pytest.mark.parametrize(
    "edited",
    [
        MODULE.replace("# one", "# another comment"),
        MODULE.replace("x + 1", "(x  +  1)"),
        MODULE.replace("\n\n", "\n\n\n\n# far below\n"),
        MODULE.replace("import os\n", "import os; \n"),
    ],
)
def test_comments_and_formatting_of_a_module_do_not_count(project: Any, edited: str) -> None:
    project.write("m.py", MODULE)
    assert edited != MODULE
    trace = Trace(modules=("{project}/m.py",))
    assert not changed(project, trace, lambda: project.write("m.py", edited))
    as_text = Trace(files=("{project}/m.py",))
    assert changed(project, as_text, lambda: project.write("m.py", MODULE))


@pytest.mark.parametrize(
    "edited",
    [
        MODULE.replace("Doc", "Another"),
        MODULE.replace("x + 1", "x + 1.0"),
        MODULE.replace("x + 1", "x + True"),
        MODULE.replace("def f(x)", "def f(x: int)"),
        MODULE.replace("import os", "import sys"),
        "# -*- coding: latin-1 -*-\n" + MODULE.replace("Doc", "é"),
        MODULE + "g = f\n",
        "this is no Python",
        "",
    ],
)
def test_code_and_docstrings_of_a_module_count(project: Any, edited: str) -> None:
    project.write("m.py", MODULE)
    trace = Trace(modules=("{project}/m.py",))
    assert changed(project, trace, lambda: project.write("m.py", edited))


@pytest.mark.filterwarnings("error")
def test_a_doubtful_escape_is_not_our_business(project: Any) -> None:
    project.write("m.py", 'x = "\\d"\n')
    trace = Trace(modules=("{project}/m.py",))
    assert not changed(project, trace, lambda: project.write("m.py", 'x = "\\d"  # why\n'))


@pytest.mark.parametrize("content", [b"\x7fELF\x00\x01", b"x = (", b"-" * 100_000 + b"1", b"\xff"])
def test_what_cannot_be_parsed_counts_by_its_bytes(project: Any, content: bytes) -> None:
    project.write("m.so", content)
    trace = Trace(modules=("{project}/m.so",))
    assert project.reader().closure(trace)["modules"]["{project}/m.so"] == bytes_digest(content)
    assert changed(project, trace, lambda: project.write("m.so", content + b"\n#"))


def test_an_absence_that_ends(project: Any) -> None:
    trace = Trace(absent=(("{project}", ("first/a.h",)),))
    assert True not in project.reader().closure(trace)["absent"].values()
    assert not changed(project, trace, lambda: project.write("first/b.h", ""))
    assert changed(project, trace, lambda: project.write("first/a.h", ""))
    assert project.reader().closure(trace)["absent"]["{project}/first/a.h"] is True


def test_one_of_many_absences_ends(project: Any) -> None:
    names = tuple(sorted(f"{folder}/{n}.h" for folder in "abc" for n in range(WORTH_LISTING)))
    trace = Trace(absent=(("{project}", names),))
    project.write("a/there.h", "")
    assert not changed(project, trace, lambda: project.write("b/another.h", ""))
    assert changed(project, trace, lambda: project.write("a/1.h", ""))
    assert not changed(project, trace, lambda: project.write("a/there.h", "more"))


def test_a_dangling_link_ends_an_absence(project: Any) -> None:
    trace = Trace(absent=(("{project}", ("a.h",)),))
    assert changed(project, trace, lambda: (project.folder / "a.h").symlink_to("nowhere"))


def test_what_was_looked_at_counts_by_kind_and_size(project: Any) -> None:
    project.write("a.h", "one")
    (project.folder / "folder").mkdir()
    trace = Trace(present=("{project}/a.h", "{project}/folder"))
    assert not changed(project, trace, lambda: project.write("a.h", "two"))
    assert not changed(project, trace, lambda: project.write("folder/b.h", ""))
    assert changed(project, trace, lambda: project.write("a.h", "three"))
    assert changed(project, trace, lambda: (project.folder / "a.h").chmod(0o755))
    assert changed(project, trace, lambda: shutil.rmtree(project.folder / "folder"))
    assert changed(project, trace, lambda: project.write("folder", ""))


def test_links_count_by_where_they_lead(project: Any) -> None:
    for name in ("one", "two"):
        (project.folder / name).mkdir()
    link = project.folder / "link"
    link.symlink_to(project.folder / "one")
    trace = Trace(present=("{project}/link",))
    closure = project.reader().closure(trace)
    assert closure["present"] == {"{project}/link": "link to {project}/one: folder"}
    link.unlink()
    assert changed(project, trace, lambda: link.symlink_to(project.folder / "two"))


def test_a_link_that_leads_to_itself(project: Any) -> None:
    (project.folder / "a").symlink_to("b")
    (project.folder / "b").symlink_to("a")
    reader = project.reader()
    trace = Trace(present=("{project}/a",))
    assert reader.closure(trace)["present"] == {"{project}/a": "link to b: None"}


def test_programs_by_what_path_finds(project: Any) -> None:
    def install(folder: str, content: str) -> None:
        project.write(f"{folder}/tool", content)
        (project.folder / folder / "tool").chmod(0o755)

    trace = Trace(programs=("tool",))
    project.env = {"PATH": f"{project.folder}/early:{project.folder}/late"}
    assert project.reader().closure(trace)["programs"] == {"tool": None}
    assert changed(project, trace, lambda: install("late", "one"))
    assert not changed(project, trace, lambda: install("early", "one"))
    assert changed(project, trace, lambda: install("early", "two"))
    assert not changed(project, trace, lambda: project.write("early/tool2", ""))
    assert changed(project, trace, lambda: project.env.update(PATH=f"{project.folder}/late"))


def test_listings_by_name(project: Any) -> None:
    project.write("folder/a", "one")
    trace = Trace(listings=("{project}/folder", "{project}/gone"))
    assert not changed(project, trace, lambda: project.write("folder/a", "two"))
    assert changed(project, trace, lambda: project.write("folder/b", ""))
    assert changed(project, trace, lambda: (project.folder / "folder" / "a").unlink())
    assert changed(project, trace, lambda: (project.folder / "gone").mkdir())


def test_a_listing_tells_what_kind_its_entries_are(tmp_path: Path) -> None:
    entry, told = tmp_path / "entry", set()
    entry.touch()
    told.add(listing_digest(str(tmp_path)))
    entry.unlink()
    entry.mkdir()
    told.add(listing_digest(str(tmp_path)))
    entry.rmdir()
    entry.symlink_to(tmp_path)
    told.add(listing_digest(str(tmp_path)))
    assert len(told) == 3


@pytest.mark.parametrize("name", sorted(IGNORED))
def test_outputs_of_builds_are_in_no_listing(tmp_path: Path, name: str) -> None:
    before = listing_digest(str(tmp_path))
    (tmp_path / name).mkdir()
    assert listing_digest(str(tmp_path)) == before
    assert listing_digest(str(tmp_path / "gone")) is None


def test_distributions_by_identity(project: Any) -> None:
    trace = Trace(distributions=(("numpy", ("numpy/a.py",)), ("torch", ())))
    project.installed = {"numpy": "1", "unread": "1"}
    assert changed(project, trace, lambda: project.installed.update(torch="2"))
    assert not changed(project, trace, lambda: project.installed.update(unread="2"))


def test_variables_by_value_and_by_role(project: Any) -> None:
    trace = Trace(env=("HOME_OF_DEMO", "UNSET"))
    project.env = {"HOME_OF_DEMO": f"{project.folder}/x:/usr", "PRIVATE": "1"}
    answers = project.reader().closure(trace)["env"]
    assert answers == {"HOME_OF_DEMO": "{project}/x:/usr", "UNSET": None}
    assert not changed(project, trace, lambda: project.env.update(PRIVATE="2"))
    assert changed(project, trace, lambda: project.env.update(UNSET=""))


def test_all_variables_by_value_but_for_ambient_ones(project: Any) -> None:
    trace = Trace(env=("*",))
    project.env["DEMO"] = "a"
    assert not changed(project, trace, lambda: project.env.update(TERM="dumb", HOME="/else"))
    assert changed(project, trace, lambda: project.env.update(DEMO="b"))
    assert changed(project, trace, lambda: project.env.update(OTHER=""))


def test_two_checkouts_give_the_same_answers(project: Any, tmp_path: Path) -> None:
    project.write("a.h", "one")
    project.write("m.py", MODULE)
    project.env = {"PLACE": str(project.folder / "x")}
    trace = Trace(
        files=("{project}/a.h",), modules=("{project}/m.py",), absent=(("{project}", ("b.h",)),),
        present=("{project}/a.h", "{project}"), listings=("{project}",), env=("*", "PLACE"),
    )  # fmt: skip
    other = type(project)(tmp_path / "deeper" / "elsewhere")
    shutil.copytree(project.folder, other.folder)
    other.env = {"PLACE": str(other.folder / "x")}
    assert project.reader().closure(trace) == other.reader().closure(trace)


def test_a_role_of_another_machine_answers_nothing(project: Any) -> None:
    places = ("{elsewhere}/a",)
    absent = (("{elsewhere}", ("a",)),)
    trace = Trace(files=places, modules=places, present=places, absent=absent, listings=places)
    assert all(
        answer is None
        for answers in project.reader().closure(trace).values()
        for answer in answers.values()
    )


def test_one_build_asks_once(project: Any) -> None:
    trace = Trace(files=("{project}/a.h",))
    project.write("a.h", "one")
    reader = project.reader()
    before = reader.closure(trace)
    project.write("a.h", "two")
    assert reader.closure(trace) is before
    assert reader.inputs(Trace(files=("{project}/a.h",), modules=("{system}/m.py",))) == [
        f"{project.folder}/a.h",
        "/m.py",
    ]
