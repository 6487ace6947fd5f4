"""Which commands build kernels, in which order, and where the result ends up."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from setuptools import Command, Distribution, Extension, errors
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

from aot_build.commands import hook
from aot_build.errors import EnvironmentProblem, InputError, KernelsFailed
from aot_build.layout import RUNTIME

pytestmark = pytest.mark.filterwarnings("ignore::setuptools.SetuptoolsDeprecationWarning")

LIB = Path("build") / (
    f"lib.{__import__('sysconfig').get_platform()}-{sys.implementation.cache_tag}"
)


class RecordingExt(build_ext):
    log: list[str] = []

    def build_extensions(self) -> None:
        self.log.append("extensions")


def shipped(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


RESULT = sorted([*RUNTIME, "manifest.json", "scale/cpu/0a-scale.so"])


def test_build_starts_kernels_first_and_joins_them_last(driver, setup):
    ext = type("build_ext", (RecordingExt,), {"log": driver.log})
    setup("build", cmdclass={"build_ext": ext}, ext_modules=[Extension("demo.x", ["x.c"])])
    assert driver.log == ["start", "extensions", "wait", "stop"]
    assert shipped(LIB / "demo" / "_aot") == RESULT


def test_sub_commands_are_first_and_last(driver, project):
    dist = Distribution({"script_name": "setup.py", "script_args": ["build"]})
    hook.finalize(dist)
    command = dist.get_command_obj("build")
    assert command.get_sub_commands()[0] == "build_aot_start"
    assert command.get_sub_commands()[-1] == "build_aot"
    names = [name for name, _ in type(command).sub_commands]
    assert (names[0], names[-1]) == ("build_aot_start", "build_aot")
    assert [name for name, _ in build.sub_commands] == names[1:-1]


def test_build_ext_alone_builds_kernels_around_its_extensions(driver, setup):
    ext = type("build_ext", (RecordingExt,), {"log": driver.log})
    setup("build_ext", cmdclass={"build_ext": ext}, ext_modules=[Extension("demo.x", ["x.c"])])
    assert driver.log == ["start", "extensions", "wait", "stop"]
    assert shipped(LIB / "demo" / "_aot") == RESULT
    assert not Path("demo/_aot").exists()


def test_build_ext_without_extensions_builds_kernels(driver, setup):
    setup("build_ext")
    assert shipped(LIB / "demo" / "_aot") == RESULT


def test_build_ext_inplace_delivers_to_the_source_tree_as_well(driver, setup):
    setup("build_ext", "--inplace")
    assert shipped(Path("demo/_aot")) == RESULT
    assert shipped(LIB / "demo" / "_aot") == RESULT


def test_inplace_follows_the_source_layout(driver, setup, project):
    (project / "src").mkdir()
    (project / "demo").rename(project / "src" / "demo")
    (project / "setup.py").write_text("")
    setup("build_ext", "--inplace", package_dir={"": "src"})
    assert shipped(Path("src/demo/_aot")) == RESULT
    assert driver.asked[0]["package_dir"] == str(project / "src" / "demo")


def test_no_aot_builds_nothing_and_removes_what_would_ship(driver, setup):
    setup("build")
    driver.log.clear()
    setup("build", "build_ext", "--no-aot")
    assert driver.log == []
    lib = Path("build/lib")
    assert (lib / "demo" / "__init__.py").is_file()
    assert not (lib / "demo" / "_aot").exists()


def test_stale_result_is_removed_where_no_kernels_are_built(driver, setup):
    stale = Path("build/lib/demo/_aot")
    stale.mkdir(parents=True)
    (stale / "old.so").write_bytes(b"old")
    setup("build", "build_ext", "--no-aot")
    assert not stale.exists()


@pytest.mark.parametrize("word", ["none", " None "])
def test_targets_none_builds_the_plugin_alone(driver, setup, monkeypatch, word):
    monkeypatch.setenv("AOT_BUILD_TARGETS", word)
    dist = setup("build")
    assert driver.log == []
    assert not dist.has_ext_modules()


def test_environment_wins_over_pyproject_none(driver, setup, project, monkeypatch):
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(text.replace('["cpu"]', '["none"]'))
    setup("build")
    assert driver.log == []
    monkeypatch.setenv("AOT_BUILD_TARGETS", "cpu")
    setup("build")
    assert driver.log == ["start", "wait", "stop"]


def test_options_apply_to_the_whole_run(driver, setup):
    words = ["--aot-jobs", "2", "--aot-mode=fast", "--aot-keep-going"]
    targets = ["--aot-target", "cpu", "--aot-target=cuda:sm_90a"]
    setup("build", "build_ext", *words, *targets)
    asked = driver.asked[0]
    assert len(driver.asked) == 1
    assert (asked["jobs"], asked["mode"], asked["keep_going"]) == (2, "fast", True)
    assert asked["targets"] == ["cpu", "cuda:sm_90a"]


def test_options_that_are_not_given_stay_as_configured(driver, setup, project):
    setup("build")
    asked = driver.asked[0]
    assert asked["project"] == str(project)
    names = ("jobs", "mode", "keep_going", "targets", "package_dir")
    assert [asked[name] for name in names] == [None] * 5


def test_options_of_the_project_class_are_kept(driver, setup):
    class WithOption(build_ext):
        user_options = [*build_ext.user_options, ("fast-math", None, "")]
        boolean_options = [*build_ext.boolean_options, "fast-math"]
        seen: list[Any] = []

        def initialize_options(self) -> None:
            super().initialize_options()
            self.fast_math = False

        def run(self) -> None:
            self.seen.append(self.fast_math)

    setup("build_ext", "--fast-math", "--aot-jobs=1", cmdclass={"build_ext": WithOption})
    assert WithOption.seen == [1]
    assert driver.asked[0]["jobs"] == 1


def test_class_of_another_name_keeps_its_options_after_reinitialization(driver, setup):
    class BuildExtension(build_ext):
        @classmethod
        def with_options(cls, **options: Any) -> type:
            class cls_with_options(cls):  # type: ignore[misc, valid-type]
                def __init__(self, *args: Any, **kwargs: Any) -> None:
                    kwargs.update(options)
                    super().__init__(*args, **kwargs)

            return cls_with_options

    words = ("build_ext", "--aot-jobs=3", "bdist_wheel")
    setup(*words, cmdclass={"build_ext": BuildExtension.with_options(use_ninja=False)})
    assert driver.asked[0]["jobs"] == 3
    assert len(driver.asked) == 1


def test_options_in_setup_cfg_count(driver, setup, project):
    (project / "setup.cfg").write_text("[build_ext]\naot-jobs = 3\naot_keep_going = no\n")
    setup("build")
    assert (driver.asked[0]["jobs"], driver.asked[0]["keep_going"]) == (3, False)
    (project / "setup.cfg").write_text("[build_ext]\naot = false\n")
    dist = setup("build")
    assert len(driver.asked) == 1 and not dist.has_ext_modules()


def test_early_question_loses_no_option(driver, project):
    words = ["build_ext", "--aot-jobs=2", "--no-aot"]
    dist = Distribution({"script_name": "setup.py", "script_args": words})
    hook.finalize(dist)
    assert dist.has_ext_modules()
    dist.parse_command_line()
    assert dist.get_command_obj("build_ext").aot_jobs == "2"
    assert not dist.has_ext_modules()


def test_build_ext_without_extensions_stays_out_of_a_build(driver, setup):
    ext = type("build_ext", (RecordingExt,), {"run": lambda self: driver.log.append("ran")})
    setup("bdist_wheel", cmdclass={"build_ext": ext})
    assert driver.log == ["start", "wait", "stop"]
    setup("build", "build_ext", cmdclass={"build_ext": ext})
    assert "ran" in driver.log


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_wrong_job_count_is_a_message(driver, setup, count):
    with pytest.raises(errors.OptionError, match="--aot-jobs: expected a whole number above 0"):
        setup("build_ext", f"--aot-jobs={count}")


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (InputError("bad key", hint="see docs"), errors.OptionError),
        (EnvironmentProblem("no compiler"), errors.PlatformError),
        (KernelsFailed("2 kernels failed"), errors.CompileError),
    ],
)
def test_failures_are_errors_of_setuptools(driver, setup, raised, expected):
    driver.error = raised
    with pytest.raises(expected, match=raised.message):
        setup("build")
    assert driver.log == ["start", "wait", "stop"]


def test_another_command_that_raises_ends_the_kernels_at_once(driver, setup):
    class Broken(build_py):
        def run(self) -> None:
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        setup("build", cmdclass={"build_py": Broken})
    assert driver.log == ["start", "stop"]


def test_build_run_of_the_project_that_iterates_over_nothing_still_builds(driver, setup):
    class OnlyPython(build):
        def run(self) -> None:
            self.run_command("build_py")

    setup("build", cmdclass={"build": OnlyPython})
    assert shipped(LIB / "demo" / "_aot") == RESULT


def test_build_run_of_the_project_that_compiles_first_starts_once(driver, setup):
    class ExtensionsFirst(build):
        def run(self) -> None:
            self.run_command("build_ext")
            super().run()

    setup("build", cmdclass={"build": ExtensionsFirst})
    assert driver.log == ["start", "wait", "stop"]


def test_stale_files_in_build_lib_do_not_ship(driver, setup):
    setup("build")
    folder = LIB / "demo" / "_aot"
    (folder / "gone" / "cpu").mkdir(parents=True)
    (folder / "gone" / "cpu" / "old.so").write_bytes(b"old")
    (folder / "scale" / "cpu" / "0a-scale.so").write_bytes(b"tampered")
    setup("build")
    assert shipped(folder) == RESULT
    assert not (folder / "gone").exists()
    assert (folder / "scale" / "cpu" / "0a-scale.so").read_bytes() == b"\x7fELF scale"


def test_earlier_inplace_result_is_no_package(driver, setup, project):
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(text.replace('packages = ["demo"]', ""))
    setup("build_ext", "--inplace")
    (project / "demo" / "_aot" / "old.py").write_text("")
    dist = setup("build")
    assert dist.packages and not [p for p in dist.packages if "_aot" in p]
    assert shipped(LIB / "demo" / "_aot") == RESULT


@pytest.mark.parametrize(
    "packages", ["", '[tool.setuptools.packages.find]\nwhere = ["."]\nexclude = ["build*"]\n']
)
def test_cache_folder_is_no_package(driver, setup, project, packages):
    (project / "cache" / "blobs").mkdir(parents=True)
    text = (project / "pyproject.toml").read_text()
    old = '[tool.setuptools]\npackages = ["demo"]\n'
    assert old in text
    (project / "pyproject.toml").write_text(text.replace(old, packages))
    dist = setup("build")
    assert dist.packages == ["demo", "demo.include"]
    assert shipped(LIB / "demo" / "_aot") == RESULT


def test_project_without_table_is_left_alone(project):
    (project / "pyproject.toml").write_text("[project]\nname = 'x'  # not aot-build\n")
    dist = Distribution()
    hook.finalize(dist)
    assert "get_command_class" not in vars(dist)
    assert "run_commands" not in vars(dist)


def test_hook_applies_once(driver, setup, project):
    dist = Distribution({"script_name": "setup.py", "script_args": ["build"]})
    hook.finalize(dist)
    before = dist.get_command_class
    hook.finalize(dist)
    assert dist.get_command_class is before


def test_build_aot_in_a_project_without_table_is_a_message(tmp_path, monkeypatch):
    from aot_build.commands.build_aot import build_aot

    monkeypatch.chdir(tmp_path)
    command = build_aot(Distribution())
    command.ensure_finalized()
    with pytest.raises(errors.OptionError, match=r"no \[tool.aot-build\] table"):
        command.run()


def test_every_look_up_gives_the_same_class(driver, project):
    dist = Distribution()
    hook.finalize(dist)
    first = dist.get_command_class("build_ext")
    assert first is dist.get_command_class("build_ext")
    assert issubclass(first, build_ext) and issubclass(first, Command)
    assert dist.get_command_class("clean").__module__.startswith(("distutils", "setuptools"))


def test_hook_process_has_its_parent_watched(driver, setup, monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "/pip/_in_process.py", raising=False)
    monkeypatch.setenv("_PYPROJECT_HOOKS_BUILD_BACKEND", "setuptools.build_meta")
    setup("build")
    monkeypatch.delenv("_PYPROJECT_HOOKS_BUILD_BACKEND")
    setup("build")
    assert [asked["front_end"] for asked in driver.asked] == [os.getppid(), 0]


def test_quiet_runs_show_no_progress(driver, setup):
    setup("build")
    setup("--quiet", "build")
    assert [asked["emit"] is None for asked in driver.asked] == [False, True]


def test_results_are_readable_whatever_the_umask(driver, setup):
    before = os.umask(0o077)
    try:
        setup("build")
    finally:
        os.umask(before)
    folder = LIB / "demo" / "_aot"
    assert {(folder / name).stat().st_mode & 0o777 for name in RESULT} == {0o644}
