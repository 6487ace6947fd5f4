"""An action finds packages imported: its trace and its result are those of one that does not."""

import os
from pathlib import Path

import msgspec
import pytest

import aot_build
from aot_build.backends.work import ENTRY
from aot_build.core.action import Action
from aot_build.core.work import WorkOrder, WorkReport
from aot_build.execute.pool import LocalPool
from aot_build.execute.protocol import Job, JobEnd

PRELOADED = (ENTRY.partition(":")[0],)
BEFORE = "import sys; BEFORE = {'first', 'second'} & sys.modules.keys()\n"
PACKAGES = {
    "first": (
        "import os, second\nfrom os import environ\n"
        "SAW = os.environ.get('FIRST_SEES')\nHERE = os.path.exists('PLACE/absent')\n"
        "TEXT = open('PLACE/text').read()\nLISTED = os.listdir('PLACE/folder')\n"
        "def later(): return environ.get('LOOKED_UP_LATER')\n"
    ),
    "second": "import os\nSAW = os.getenv('SECOND_SEES')\n",
    "third": "import os\nSAW = os.getenv('THIRD_SEES')\n",
}


DIED = "import aot_build.core.ending; raise aot_build.core.ending"


class Site:
    """Three packages in site-packages, a project, and a pool that may have imported them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project = folder / "project"
        for name, text in PACKAGES.items():
            module = folder / "site-packages" / name / "__init__.py"
            module.parent.mkdir(parents=True)
            module.write_text(text.replace("PLACE", str(folder)))
        (folder / "folder").mkdir()
        (folder / "text").write_text("")
        self.project.mkdir()

    def order(self, body: str, **fields: object) -> WorkOrder:
        (self.project / "demo.py").write_text(
            f"{BEFORE}import first\ndef make(out_dir, target):\n    {body}\n"
            "    open(out_dir + '/out', 'w').write(str((sorted(BEFORE), first.SAW)))\n"
        )
        for name in ("out", "scratch"):
            (self.folder / name).mkdir(exist_ok=True)
        action = Action(
            backend="python", stage="call", target="cpu", mode="release", inputs=(), toolchain="",
            params=(("row", ()), ("source", ("demo:make",))), **fields,  # type: ignore[arg-type]
        )  # fmt: skip
        roots = {"project": str(self.project)}
        out, scratch = str(self.folder / "out"), str(self.folder / "scratch")
        return WorkOrder(action, roots, out, scratch, (str(self.project),))

    def run(self, preload: bool, body: str = "pass", **fields: object) -> JobEnd:
        with LocalPool(1, preload=PRELOADED, log=self.folder / "forkserver.log") as pool:
            if preload:
                pool.preload(["third", "first"], trusted=True)
                pool.wait(0)
            order = self.order(body, **fields)
            log, scratch = str(self.folder / "log"), order.scratch
            payload = msgspec.msgpack.encode(order)
            pool.submit(Job(1, ENTRY, payload, log=log, scratch=scratch))
            (end,) = pool.wait()
            return end

    def report(self, preload: bool, body: str = "pass", **fields: object) -> WorkReport:
        end = self.run(preload, body, **fields)
        assert end.outcome == "ok", (self.folder / "log").read_text()
        return msgspec.msgpack.decode(end.payload, type=WorkReport)

    @property
    def out(self) -> str:
        return (self.folder / "out" / "out").read_text()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    monkeypatch.setenv("FIRST_SEES", "outside")
    return Site(tmp_path)


def test_what_a_package_read_is_in_the_trace_of_those_who_use_it(site: Site) -> None:
    cold = site.report(False)
    assert site.out == "([], 'outside')"
    warm = site.report(True)
    assert site.out == "(['first', 'second'], 'outside')"
    assert warm.trace == cold.trace
    assert {"FIRST_SEES", "SECOND_SEES"} <= set(warm.trace.env)
    assert {"first", "second"} <= set(warm.packages)
    assert any(path.endswith("/text") for path in warm.trace.files)
    assert any(path.endswith("/absent") for path in warm.trace.missing)
    assert any(path.endswith("/folder") for path in warm.trace.listings)
    assert warm.imports == cold.imports == ("first",)


def test_nobody_is_charged_for_a_package_that_it_does_not_use(site: Site) -> None:
    report = site.report(True)
    assert "third" not in report.packages and "THIRD_SEES" not in report.trace.env
    assert "third" in site.report(True, "import third").packages


def test_a_package_that_took_environ_along_looks_nothing_up_unseen(site: Site) -> None:
    assert "LOOKED_UP_LATER" in site.report(True, "first.later()").trace.env


def test_another_environment_takes_a_fresh_interpreter(site: Site) -> None:
    declared = (("FIRST_SEES", "declared"),)
    cold = site.report(False, env=declared)
    assert site.report(True, env=declared).trace == cold.trace
    assert site.out == "([], 'declared')"
    assert "first saw another FIRST_SEES" in site.log
    same, unrelated = (("FIRST_SEES", "outside"),), (("UNRELATED", "1"),)
    for env in (same, unrelated):
        site.report(True, env=env)
        assert site.out == "(['first', 'second'], 'outside')"


def test_what_libraries_read_when_they_are_loaded_takes_one_too(site: Site) -> None:
    site.report(True, env=(("OMP_NUM_THREADS", "3"),))
    assert site.out == "([], 'outside')"


def test_a_module_of_the_project_goes_before_an_installed_one(site: Site) -> None:
    (site.project / "second.py").write_text("")
    report = site.report(True)
    assert site.out == "([], 'outside')"
    assert "{project}/second.py" in report.trace.modules and "second" not in report.packages


def test_a_project_that_is_this_very_one_clashes_with_nothing(site: Site) -> None:
    (site.project / "aot_build").symlink_to(Path(aot_build.__file__).parent)
    site.report(True)
    assert site.out == "(['first', 'second'], 'outside')" and not site.log


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("import os; os.abort()", "crashed"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "crashed"),
        ("import os; os._exit(3)", "crashed"),
        ("raise MemoryError", "memory"),
        ("raise ValueError('boom')", "error"),
        ("import subprocess; subprocess.run(['sh', '-c', 'kill -11 $$'], check=True)", "crashed"),
        ("raise OSError(12, 'no memory')", "memory"),
        (f"{DIED}.ProgramDied('memory', 'cc1plus ran out of memory')", "memory"),
    ],
)
def test_an_action_ends_alike_in_a_fresh_interpreter(site: Site, body: str, outcome: str) -> None:
    env = (("FIRST_SEES", "declared"),)
    plain, fresh = site.run(False, body, env=env), site.run(True, body, env=env)
    assert (plain.outcome, fresh.outcome) == (outcome, outcome)
    first = [os.path.basename(end.reason.partition("; it said last:")[0]) for end in (plain, fresh)]
    assert first[0] == first[1]
