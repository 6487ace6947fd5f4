"""Where the package lies."""

import pytest

from aot_build.errors import InputError


def test_project_name_is_the_package_where_such_a_folder_is(project):
    (project.folder / "my_kernels").mkdir()
    found = project.write("", '[project]\nname = "My-Kernels"\n').load()
    assert found.package == "my_kernels"
    assert found.package_dir == project.folder / "my_kernels"
    assert found.import_roots == (project.folder,)


def test_project_name_without_a_folder_says_what_to_set(project):
    with pytest.raises(InputError) as caught:
        project.write("", '[project]\nname = "other"\n').load()
    assert caught.value.hint == 'set package = "..." in [tool.aot-build]'
    with pytest.raises(InputError, match="not named"):
        project.write("", "").load()


def test_src_layout(project):
    (project.folder / "src" / "inner").mkdir(parents=True)
    found = project.write('package = "inner"').load()
    assert found.package_dir == project.folder / "src" / "inner"
    assert found.import_roots == (project.folder / "src", project.folder)


def test_src_goes_before_the_project(project):
    (project.folder / "src" / "demo").mkdir(parents=True)
    assert project.write("").load().package_dir == project.folder / "src" / "demo"


@pytest.mark.parametrize(
    "setuptools",
    [
        '[tool.setuptools.package-dir]\n"" = "lib"\n',
        '[tool.setuptools.package-dir]\ninner = "lib/inner"\n',
        '[tool.setuptools.packages.find]\nwhere = ["lib"]\n',
        '[tool.setuptools]\npackages = ["inner"]\npackage-dir = {inner = "lib/inner"}\n',
    ],
)
def test_setuptools_layouts(project, setuptools):
    (project.folder / "lib" / "inner").mkdir(parents=True)
    found = project.write('package = "inner"', setuptools).load()
    assert found.package_dir == project.folder / "lib" / "inner"
    assert found.import_roots[0] == project.folder / "lib"
    assert found.import_roots[-1] == project.folder


def test_dotted_package_below_a_mapped_parent(project):
    (project.folder / "lib" / "b").mkdir(parents=True)
    head = '[tool.setuptools.package-dir]\na = "lib"\n'
    assert project.write('package = "a.b"', head).load().package_dir == project.folder / "lib" / "b"


def test_folder_or_mapping_from_the_command_line(project):
    (project.folder / "odd" / "place").mkdir(parents=True)
    project.write('package = "inner"')
    folder = project.folder / "odd" / "place"
    assert project.load(line={"package-dir": "odd/place"}).package_dir == folder
    assert project.load(line={"package-dir": {"inner": "odd/place"}}).package_dir == folder


def test_missing_folder_names_the_nearest(project):
    with pytest.raises(InputError) as caught:
        project.write('package = "dem"').load()
    assert caught.value.hint == "did you mean 'demo'?"
    assert caught.value.fields["key"] == "tool.aot-build.package"
    with pytest.raises(InputError, match="not the name of an import package"):
        project.write('package = "../demo"').load()
