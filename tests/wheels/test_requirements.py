"""The lines that METADATA gain, and those that it keeps."""

import json
from pathlib import Path

import pytest

from aot_build.errors import EnvironmentProblem, InputError, InternalError
from aot_build.wheels.requirements import add_pins, check_pins, pins, shipped_pins

HEAD = "Metadata-Version: 2.4\nName: demo\n{}License-File: L\n"
BODY = "\nRequires-Dist: is a text here\n\nend\n"


def metadata(folder: Path, *requirements: str, body: str = BODY) -> Path:
    lines = "".join(f"Requires-Dist: {each}\n" for each in requirements)
    file = folder / "METADATA"
    file.write_text(HEAD.format(lines) + body)
    return file


def required(file: Path) -> list[str]:
    head = file.read_text().partition("\n\n")[0]
    return [line[15:] for line in head.splitlines() if line.startswith("Requires-Dist: ")]


@pytest.mark.parametrize("body", [BODY, ""])
@pytest.mark.parametrize(
    "own",
    [
        (),
        ("numpy",),
        ("FlyDSL<0.5,>=0.3.1", "numpy"),
        ("flydsl @ https://host/flydsl.whl",),
        ("flydsl==0.3.1; extra == 'old'",),
        ("flydsl==0.3.1; python_version < '3'",),
    ],
)
def test_an_exact_version_is_required_besides_all_else(tmp_path, own, body):
    file = metadata(tmp_path, *own, body=body)
    add_pins(file, {"flydsl": "0.4.2"})
    assert required(file) == [*own, "flydsl==0.4.2"]
    assert file.read_text().endswith("License-File: L\n" + body) or not own
    once = file.read_bytes()
    add_pins(file, {"flydsl": "0.4.2"})
    assert file.read_bytes() == once
    check_pins(file, {("flydsl", "0.4.2")})
    without = file.read_text().replace("Requires-Dist: flydsl==0.4.2\n", "", 1)
    assert without == HEAD.format("".join(f"Requires-Dist: {each}\n" for each in own)) + body


@pytest.mark.parametrize("version", ["0.4.2+rocm7", "0.4.3.dev1", "0.4.2"])
def test_a_local_or_early_version_is_required_as_it_is(tmp_path, version):
    file = metadata(tmp_path, "flydsl<0.5")
    add_pins(file, {"flydsl": version})
    assert required(file) == ["flydsl<0.5", f"flydsl=={version}"]


def test_a_dependency_that_rules_the_version_out_is_an_error(tmp_path):
    file = metadata(tmp_path, "FlyDSL<0.4")
    with pytest.raises(InputError) as caught:
        add_pins(file, {"flydsl": "0.4.2"})
    assert str(caught.value) == (
        "the project's dependencies rule out the flydsl that its kernels are built by (input)\n"
        "  dependency: FlyDSL<0.4\n"
        "  installed:  flydsl 0.4.2\n"
        "hint: build with another flydsl, or widen the dependency: the wheel requires flydsl==0.4.2"
        " besides"
    )


def test_metadata_of_another_environment_are_an_error(tmp_path):
    file = metadata(tmp_path, "flydsl==0.3.1")
    with pytest.raises(InternalError, match=r"(?s)built by: flydsl 0\.4\.2.*required: ==0\.3\.1"):
        check_pins(file, {("flydsl", "0.4.2")})


def test_only_what_ships_is_looked_at(tmp_path):
    def kernel(backend: str, metadata: dict[str, object]) -> dict[str, object]:
        return {"backend": backend, "variants": [{"metadata": metadata}]}

    kernels = {
        "a": kernel("cpp", {"flydsl": {"version": "1"}}),
        "b": kernel("flydsl", {"flydsl": {"version": "0.4.2", "python": "cp311"}}),
        "c": {"backend": "flydsl", "variants": []},
    }
    (tmp_path / "manifest.json").write_text(json.dumps({"kernels": kernels}))
    assert shipped_pins(tmp_path) == {("flydsl", "0.4.2")}


def test_the_version_is_the_installed_one(tmp_path, monkeypatch):
    (tmp_path / "flydsl-9.9.dist-info").mkdir()
    text = "Metadata-Version: 2.1\nName: flydsl\nVersion: 9.9\n"
    (tmp_path / "flydsl-9.9.dist-info" / "METADATA").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert pins({"cpp": True, "flydsl": False}) == {"flydsl": "9.9"}
    assert pins({"cpp": True}) == {}


def test_what_may_be_left_out_is_not_required_where_it_is_absent(monkeypatch):
    monkeypatch.setattr("sys.path", [])
    assert pins({"flydsl": False}) == {}
    with pytest.raises(EnvironmentProblem, match="pip install flydsl"):
        pins({"flydsl": True})
