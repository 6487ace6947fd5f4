"""Targets, roles, the manifest's places: pure functions of frozen values."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aot_build.core.artifact import Artifact
from aot_build.core.kernel import KernelSpec, Variant
from aot_build.core.manifest import Entry, manifest, place, variant_id
from aot_build.core.result import Failure, Miss
from aot_build.core.roles import Roles
from aot_build.core.target import Target, known_targets, parse_target
from aot_build.core.toolchain import Toolchain
from aot_build.errors import InputError

SPEC = KernelSpec("scale", "cpp", ("a.cpp",), (Target("cpu"),))


def variant(target: str = "cpu", **row: object) -> Variant:
    return Variant(SPEC, tuple(sorted(row.items())), parse_target(target))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", known_targets())
def test_every_known_target_is_read_and_written_back(text: str) -> None:
    assert str(parse_target(text)) == text
    assert ":" not in parse_target(text).folder


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("cuda:sm90a", "did you mean 'cuda:sm_90a'?"),
        ("cpu:x86-64-v33", "did you mean 'cpu:x86-64-v3'?"),
        ("hip:gfx942:xnack+", "did you mean 'hip:gfx942'?"),
    ],
)
def test_an_unknown_target_names_the_nearest(text: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_target(text, where="pyproject.toml")
    assert caught.value.hint == hint
    assert caught.value.fields["where"] == "pyproject.toml"


@pytest.mark.parametrize("text", ["", "cuda", "cuda:", "cpu:", "CPU", "cpu ", "hip:sm_90"])
def test_what_is_almost_a_target_is_none(text: str) -> None:
    with pytest.raises(InputError):
        parse_target(text)


def test_feature_suffixes_are_explained() -> None:
    with pytest.raises(InputError) as caught:
        parse_target("hip:gfx942:xnack+")
    assert "feature suffixes" in caught.value.fields["note"]


def test_the_deepest_root_names_a_path() -> None:
    roles = Roles({"project": "/work", "generated": "/work/build/aot/generated"})
    assert roles.encode("/work/a.h") == "{project}/a.h"
    assert roles.encode("/work/build/aot/generated/x.cpp") == "{generated}/x.cpp"
    assert roles.encode("/work") == "{project}"
    assert roles.encode("/workshop/a.h") == "{system}/workshop/a.h"


@given(st.text("ab/ {}.", min_size=1, max_size=12))
def test_a_path_comes_back_from_its_role(tail: str) -> None:
    roles = Roles({"project": "/p", "env": "/p/env"})
    for path in ("/p/" + tail, "/p/env/" + tail, "/usr/" + tail):
        assert roles.decode(roles.encode(path)) == path


def test_an_unknown_role_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Roles({"project": "/p"}).decode("{elsewhere}/a.h")


def test_roles_inside_a_flag() -> None:
    roles = Roles({"project": "/p", "env": "/p/env"})
    assert roles.encode_text("-I/p/env/inc:/p/inc") == "-I{env}/inc:{project}/inc"
    assert roles.expand("-I{env}/inc -D{x}={project}") == "-I/p/env/inc -D{x}=/p"


def test_one_artifact_lies_beside_others_and_several_in_a_folder() -> None:
    one, two = Artifact("a.so", "0" * 64, 1), Artifact("sub/b.bin", "1" * 64, 2)
    name = variant_id(variant(T="float"))
    assert place(variant(T="float"), (one,)) == {"a.so": f"scale/cpu/{name}-a.so"}
    assert place(variant("cpu:x86-64-v3", T="float"), (one, two)) == {
        "a.so": f"scale/cpu-x86-64-v3/{name}/a.so",
        "sub/b.bin": f"scale/cpu-x86-64-v3/{name}/sub/b.bin",
    }


def test_variant_ids_tell_types_apart() -> None:
    values = [1, 1.0, True, "1", None, "None", (1,), ("1",)]
    assert len({variant_id(variant(X=value)) for value in values}) == len(values)


def test_the_manifest_does_not_depend_on_the_order_of_entries() -> None:
    chain = Toolchain("g++", "12", "d" * 32)
    entries = [
        Entry(variant(target, B=block), chain, (Artifact("s.so", "0" * 64, 3),))
        for target in ("cpu:x86-64-v3", "cpu")
        for block in (128, 64, (1, 2))
    ]
    told = manifest("demo", "release", "test", entries)
    assert told == manifest("demo", "release", "test", entries[::-1])
    variants = told["kernels"]["scale"]["variants"]
    assert [v["target"] for v in variants] == ["cpu"] * 3 + ["cpu:x86-64-v3"] * 3
    assert told["toolchains"] == {"d" * 32: {"name": "g++", "version": "12"}}
    assert [1, 2] in [v["row"]["B"] for v in variants]


def test_labels_and_misses_as_people_read_them() -> None:
    assert variant(B=64, T="float", on=True, tile=(8, 16)).label == (
        "B=64, T=float, on=true, tile=[8, 16]"
    )
    assert variant().label == "-"
    assert str(Miss("mode", "debug", "release")) == "mode: debug -> release"
    assert str(Miss("env X", "", "1")) == "env X: - -> 1"
    assert str(Miss("never built here")) == "never built here"


@pytest.mark.parametrize(
    ("outcome", "abnormal"),
    [("crashed", True), ("memory", True), ("timeout", True), ("lost", True),
     ("error", False), ("nothing", True), ("skipped", False)],
)  # fmt: skip
def test_only_abnormal_ends_are_worth_a_second_try(outcome: str, abnormal: bool) -> None:
    assert Failure(outcome, "why").abnormal is abnormal


def test_the_nouns_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        variant().target = Target("hip")  # type: ignore[misc]
