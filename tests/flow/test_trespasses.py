"""What actions do outside of their project and their folders: reported, and an error if need be."""

import subprocess

import pytest

from tests.flow.single import SHELL, text_of

pytestmark = pytest.mark.compiler


@pytest.mark.parametrize("tracer", ["1", "0"])
def test_undeclared_reads_are_reported_and_fail_where_settings_are_strict(
    python_kernel, tmp_path, tracer
):
    outside = tmp_path / "outside.txt"
    outside.write_text("far")
    project = python_kernel(
        f"    text = open({str(outside)!r}).read()\n"
        "    open(out_dir + '/out.txt', 'w').write(text)\n"
    )
    env = {"AOT_BUILD_TRACER": tracer}
    told = project.command("build", **env)
    assert told.returncode == 0
    assert told.stderr.count(f"k reads {outside}, outside of the project and its toolchain") == 1
    outside.write_text("further")
    assert project.build(**env)["executed"] == 1 and text_of(project) == "further"
    failed = project.command("build", **env, AOT_BUILD_STRICT="1")
    assert failed.returncode == 1
    assert f"reads {outside}" in failed.stderr and "hint: " in failed.stderr
    project.edit("pyproject.toml", "configs", f'env = {{ DATA = "{outside}" }}\nconfigs')
    assert project.command("build", **env, AOT_BUILD_STRICT="1").returncode == 0


def test_a_file_that_a_variable_names_is_declared_and_its_neighbours_are_not(
    python_kernel, tmp_path
):
    tables = [tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "c.csv"]
    for table in tables:
        table.write_text(table.name)
    project = python_kernel(
        "    import os\n    names = os.environ['TABLES'].split(':')\n"
        "    text = ''.join(open(name).read() for name in names)\n"
        "    open(out_dir + '/out.txt', 'w').write(text)\n"
    )
    named = {"TABLES": f"{tables[0]}:{tables[1]}"}
    assert project.command("build", **named, AOT_BUILD_STRICT="1").returncode == 0
    assert text_of(project) == "a.csvb.csv"
    tables[1].write_text("other")
    assert project.build(**named)["executed"] == 1 and text_of(project) == "a.csvother"
    # Nobody asks for the variable that would name it.
    project.edit("demo/gen.py", "os.environ['TABLES'].split(':')", f"[{str(tables[2])!r}]")
    failed = project.command("build", **named, AOT_BUILD_STRICT="1")
    assert failed.returncode == 1 and f"reads {tables[2]}" in failed.stderr


def test_what_lies_in_the_home_of_another_user_is_another_file(python_kernel, tmp_path):
    project = python_kernel(
        "    import pathlib\n    text = (pathlib.Path.home() / 'demo.cfg').read_text()\n"
        "    pathlib.Path(out_dir, 'out.txt').write_text(text)\n"
    )
    for name in ("one", "two", "one"):
        home = tmp_path / "home" / name
        home.mkdir(parents=True, exist_ok=True)
        (home / "demo.cfg").write_text(name)
        project.build(HOME=str(home))
        assert text_of(project) == name


def test_writes_outside_the_output_folder_are_reported(python_kernel):
    project = python_kernel(
        "    import pathlib\n    here = pathlib.Path(__file__).parent\n"
        "    (here / 'litter.txt').write_text('x')\n    pathlib.Path(out_dir, 'a').touch()\n"
    )
    told = project.command("build")
    assert f"k writes {project.path}/demo/litter.txt" in told.stderr
    failed = project.command("build", AOT_BUILD_STRICT="1")
    assert failed.returncode == 1 and "writes" in failed.stderr


def test_a_program_that_cannot_be_traced_is_named(python_kernel, tmp_path):
    source = tmp_path / "blind.c"
    source.write_text("int main(void) { return 0; }\n")
    made = subprocess.run(["gcc", "-static", "-o", tmp_path / "blind", source])
    if made.returncode:
        pytest.skip("needs a static libc")
    project = python_kernel(SHELL.format(script=f'{tmp_path}/blind && echo > "$1/out.txt"'))
    assert f"runs {tmp_path}/blind, which cannot be traced" in project.command("build").stderr
