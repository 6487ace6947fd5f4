"""Which place wins, and what a value may be."""

from pathlib import Path

import pytest

from aot_build.core.target import Target
from aot_build.errors import InputError


def test_no_pyproject_or_no_table_is_none(tmp_path, loader):
    assert loader(tmp_path) is None
    (tmp_path / "pyproject.toml").write_text("[tool.other]\n")
    assert loader(tmp_path) is None


def test_defaults(project):
    found = project.write("").load()
    assert found.targets == (Target("cpu"),)
    assert (found.mode, found.retries, found.keep_going, found.strict) == (
        "release",
        2,
        True,
        False,
    )
    assert (found.jobs, found.timeout, found.memory_per_worker) == (None, None, None)
    assert found.kernels == () and found.unserved == {}
    assert found.project == project.folder.resolve()


PLACES = ("line", "env", "config", "pyproject")
TEXTS = {
    "jobs": ("1", "2", "3", "4"),
    "mode": ("debug", "fast", "tune", "release"),
    "timeout": ("1", "2.5", "3", "4"),
    "retries": ("0", "1", "3", "4"),
    "keep-going": ("no", "on", "FALSE", "true"),
    "memory-per-worker": ("1KiB", "2 KB", "3", "4000"),
    "targets": ("cuda:sm_80", "hip:gfx942", "cuda:sm_90a", "cpu"),
}
VALUES = {
    "jobs": (1, 2, 3, 4),
    "mode": ("debug", "fast", "tune", "release"),
    "timeout": (1.0, 2.5, 3.0, 4.0),
    "retries": (0, 1, 3, 4),
    "keep-going": (False, True, False, True),
    "memory-per-worker": (1024, 2000, 3, 4000),
    "targets": (
        (Target("cuda", "sm_80"),),
        (Target("hip", "gfx942"),),
        (Target("cuda", "sm_90a"),),
        (Target("cpu"),),
    ),
}
VARIABLES = {
    "jobs": "AOT_BUILD_JOBS",
    "mode": "AOT_BUILD_MODE",
    "timeout": "AOT_BUILD_TIMEOUT",
    "retries": "AOT_BUILD_RETRIES",
    "keep-going": "AOT_BUILD_KEEP_GOING",
    "memory-per-worker": "AOT_BUILD_MEM_PER_WORKER",
    "targets": "AOT_BUILD_TARGETS",
}


@pytest.mark.parametrize("key", TEXTS)
@pytest.mark.parametrize("start", range(4))
def test_precedence(project, key, start):
    """Each place in turn is the strongest that speaks."""
    line, env, config, pyproject = TEXTS[key]
    if key in ("mode", "targets"):
        pyproject = f"['{pyproject}']" if key == "targets" else f"'{pyproject}'"
    project.write(f"{key} = {pyproject}")
    found = project.load(
        line={key: line} if start == 0 else {key: None},
        env={VARIABLES[key]: env} if start <= 1 else {},
        config={f"aot.{key}": config} if start <= 2 else {},
    )
    assert getattr(found, key.replace("-", "_")) == VALUES[key][start]


def test_max_jobs_only_where_nothing_of_ours_is_set(project):
    project.write("jobs = 3")
    assert project.load(env={"MAX_JOBS": "5"}).jobs == 5
    assert project.load(env={"MAX_JOBS": "many", "AOT_BUILD_JOBS": "7"}).jobs == 7
    assert project.load(env={"MAX_JOBS": ""}).jobs == 3


def test_strict_and_typed_values_of_a_command(project):
    found = project.write("").load(line={"strict": 1, "jobs": 2, "targets": ["cpu", "cuda:sm_80"]})
    assert found.strict is True and found.jobs == 2
    assert found.targets == (Target("cpu"), Target("cuda", "sm_80"))


@pytest.mark.parametrize("text", ["cpu,cuda:sm_80", " cpu , cuda:sm_80,cpu ,"])
def test_comma_list_of_targets_each_once(project, text):
    found = project.write("").load(env={"AOT_BUILD_TARGETS": text})
    assert found.targets == (Target("cpu"), Target("cuda", "sm_80"))


def test_repeated_config_setting_joins_targets_only(project):
    project.write("")
    found = project.load(config={"aot.targets": ["cpu", "cuda:sm_80,hip:gfx942"]})
    assert len(found.targets) == 3
    with pytest.raises(InputError, match=r"aot\.jobs is given 2 times"):
        project.load(config={"aot.jobs": ["1", "2"]})


def test_none_builds_no_kernel_and_asks_for_no_backend(project):
    project.write('[[tool.aot-build.kernels]]\nname = "a"\nbackend = "of a plug-in"\nsource = "x"')
    found = project.load(env={"AOT_BUILD_TARGETS": "none"})
    assert found.targets == () and found.kernels == ()
    with pytest.raises(InputError, match="'none' stands alone"):
        project.load(env={"AOT_BUILD_TARGETS": "none,cpu"})


def test_other_tools_config_settings_and_unknown_variables_are_ignored(project):
    found = project.write("").load(
        env={"AOT_BUILD_JBOS": "x", "AOT_BUILD_SUMMARY": "s"}, config={"--global-option": "x"}
    )
    assert found.jobs is None


BAD = [
    ({"env": {"AOT_BUILD_JOBS": "many"}}, "jobs: expected integer", "AOT_BUILD_JOBS"),
    ({"env": {"AOT_BUILD_JOBS": "0"}}, "jobs: expected integer >= 1", "AOT_BUILD_JOBS"),
    ({"env": {"MAX_JOBS": "-1"}}, "jobs: expected integer >= 1", "MAX_JOBS"),
    ({"env": {"AOT_BUILD_MODE": "relase"}}, "unknown mode 'relase'", "did you mean 'release'?"),
    ({"env": {"AOT_BUILD_TIMEOUT": "nan"}}, "timeout: expected number", "AOT_BUILD_TIMEOUT"),
    ({"env": {"AOT_BUILD_TIMEOUT": "inf"}}, "timeout: expected number", "AOT_BUILD_TIMEOUT"),
    ({"env": {"AOT_BUILD_RETRIES": "-1"}}, "retries: expected integer >= 0", "AOT_BUILD_RETRIES"),
    ({"env": {"AOT_BUILD_KEEP_GOING": "maybe"}}, "keep-going", "AOT_BUILD_KEEP_GOING"),
    ({"env": {"AOT_BUILD_MEM_PER_WORKER": "2 pigs"}}, "not an amount of memory", "MEM_PER_WORKER"),
    ({"env": {"AOT_BUILD_TARGETS": "cuda:sm_90b"}}, "unknown target", "AOT_BUILD_TARGETS"),
    ({"config": {"aot.jbos": "1"}}, "unknown config setting 'aot.jbos'", "did you mean 'jobs'?"),
    ({"config": {"aot.jobs": "1.5"}}, "jobs: expected integer", "-C aot.jobs"),
    ({"line": {"taget": "cpu"}}, "unknown option 'taget'", "did you mean 'targets'?"),
]


@pytest.mark.parametrize(("given", "message", "named"), BAD)
def test_malformed_values_name_their_place(project, given, message, named):
    project.write("")
    with pytest.raises(InputError) as caught:
        project.load(**given)
    assert message in caught.value.message and named in str(caught.value)


def test_malformed_value_is_an_error_even_where_overruled(project):
    with pytest.raises(InputError, match="AOT_BUILD_JOBS"):
        project.write("").load(env={"AOT_BUILD_JOBS": "x"}, line={"jobs": 2})


def test_cache_dir(project, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    user = tmp_path / "user" / "aot_build"
    assert project.write("").load().cache_dir == user
    project.write('cache-dir = "kept"')
    assert project.load().cache_dir == user
    (project.folder / "kept").mkdir()
    assert project.load().cache_dir == project.folder / "kept"
    assert project.load(config={"aot.cache-dir": "new"}).cache_dir == project.folder / "new"
    assert project.load(env={"AOT_BUILD_CACHE_DIR": "/x/y"}).cache_dir == Path("/x/y")
    monkeypatch.chdir(tmp_path)
    assert project.load(env={"AOT_BUILD_CACHE_DIR": "here"}).cache_dir == tmp_path / "here"
    project.write('cache-dir = "/abs/olute"')
    assert project.load().cache_dir == Path("/abs/olute")
