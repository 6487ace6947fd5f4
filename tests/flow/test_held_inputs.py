"""What an action read is what its key says, by whatever links and folders it was found."""

import os
import time
from types import SimpleNamespace

import pytest

from aot_build.core.roles import Roles
from aot_build.core.trace import Trace
from aot_build.evidence import inputs_held
from aot_build.files import StatIndex, stamp_ns
from aot_build.graph.closure import ClosureReader


@pytest.fixture
def held(tmp_path):
    """Have something happen while an action runs that reads `current/h.h`; whether it held."""
    project = tmp_path / "project"
    for name in ("one", "two"):
        (project / name).mkdir(parents=True)
        (project / name / "h.h").write_text(name)
    roles = Roles({"project": str(project)})
    index = StatIndex()
    space = SimpleNamespace(
        roles=roles,
        index=index,
        closures=ClosureReader(roles, index, lambda name, used: "", {}),
        settings=SimpleNamespace(project=project),
        edited=set(),
        emit=lambda event: None,
    )

    def ask(before, meanwhile, trace=None):
        before(project)
        time.sleep(0.02)
        since = stamp_ns()
        meanwhile(project)
        read = trace or Trace(files=("{project}/current/h.h",))
        space.closures.closure(read)
        return inputs_held(space, SimpleNamespace(inputs=()), read, since), space.edited

    return ask


def leads(to):
    def link(project):
        (project / "new").symlink_to(to)
        os.replace(project / "new", project / "current")

    return link


def nothing(project):
    pass


def test_a_link_that_comes_to_lead_elsewhere(held):
    whole, edited = held(leads("one"), leads("two"))
    assert not whole
    assert [os.path.basename(path) for path in edited] == ["current"]


def test_a_link_behind_a_link(held, tmp_path):
    def before(project):
        (tmp_path / "far").symlink_to(project / "one")
        leads(tmp_path / "far")(project)

    def meanwhile(project):
        (tmp_path / "far").unlink()
        (tmp_path / "far").symlink_to(project / "two")

    whole, edited = held(before, meanwhile)
    assert not whole
    assert edited == {str(tmp_path / "far")}


def test_a_folder_that_another_takes_the_place_of(held):
    def meanwhile(project):
        (project / "current").rename(project / "old")
        (project / "two").rename(project / "current")

    whole, edited = held(lambda p: (p / "one").rename(p / "current"), meanwhile)
    assert not whole
    assert [os.path.basename(path) for path in edited] == ["current"]


def test_a_new_file_beside_what_was_read(held):
    whole, edited = held(leads("one"), lambda p: (p / "one" / "other.h").write_text(""))
    assert whole
    assert not edited


def test_a_link_that_leads_nowhere_and_stays(held):
    trace = Trace(present=("{project}/current",), absent=(("{project}", ("none",)),))
    whole, edited = held(leads("none"), nothing, trace)
    assert whole
    assert not edited


def test_a_link_that_leads_nowhere_and_is_put_elsewhere(held):
    trace = Trace(present=("{project}/current",), absent=(("{project}", ("none",)),))
    whole, _ = held(leads("none"), leads("nothing"), trace)
    assert not whole
