"""Where a path that is not there would appear."""

from pathlib import Path

import pytest

from aot_build.backends.tracing.absences import absences
from aot_build.core.roles import Roles


@pytest.fixture
def roles(tmp_path: Path) -> Roles:
    (tmp_path / "around" / "project" / "inc").mkdir(parents=True)
    return Roles({"project": str(tmp_path / "around" / "project")})


def test_by_the_nearest_folder_that_is_there(roles: Roles) -> None:
    root = roles.roots["project"]
    paths = [f"{root}/inc/a.h", f"{root}/gone/deep/a.h", f"{root}/inc/b.h", f"{root}/inc"]
    assert absences(paths, roles) == (
        ("{project}", ("gone/deep/a.h",)),
        ("{project}/inc", ("a.h", "b.h")),
    )


def test_below_a_file(roles: Roles) -> None:
    Path(roles.roots["project"], "file").touch()
    assert absences([f"{roles.roots['project']}/file/a.h"], roles) == (
        ("{project}", ("file/a.h",)),
    )


def test_behind_a_link_that_leads_nowhere(roles: Roles) -> None:
    link = Path(roles.roots["project"], "a.h")
    link.symlink_to("inc/real.h")
    assert absences([str(link)], roles) == (("{project}/inc", ("real.h",)),)
    loop = Path(roles.roots["project"], "loop")
    loop.symlink_to("loop")
    assert absences([str(loop)], roles) == ()


def test_around_the_project_also_as_seen_from_there(roles: Roles, tmp_path: Path) -> None:
    found = dict(absences([f"{tmp_path}/around/.git"], roles))
    assert found == {f"{{system}}{tmp_path}/around": (".git",), "{project}/..": (".git",)}
