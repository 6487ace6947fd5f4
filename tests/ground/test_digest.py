"""The canonical encoding: no two values share one."""

import dataclasses
import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aot_build.digest import (
    CHUNK,
    blob_digest,
    bytes_digest,
    canonical,
    file_digest,
    key_digest,
)

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.binary(max_size=6)
    | st.text(st.characters(exclude_categories=()), max_size=6)
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.frozensets(SCALARS, max_size=3)
    ),
    max_leaves=6,
)


def typed(value: Any) -> Any:
    """A value with its types spelled out, so that == tells 1 from 1.0, True and "1"."""
    if isinstance(value, dict):
        return "dict", frozenset((typed(k), typed(v)) for k, v in value.items())
    if isinstance(value, (frozenset, tuple)):
        inner = [typed(v) for v in value]
        return type(value).__name__, frozenset(inner) if isinstance(value, frozenset) else (*inner,)
    return type(value).__name__, repr(value)


@given(VALUES, VALUES)
def test_equal_encodings_mean_equal_values(one: Any, two: Any) -> None:
    assert (canonical(one) == canonical(two)) == (typed(one) == typed(two))


def test_what_looks_alike_is_told_apart() -> None:
    alike = [
        1, 1.0, True, "1", b"1", (1,), ("1",), {1: None}, {1}, 0, 0.0, -0.0, False, None, "", b"",
        (), {}, frozenset(), ((),), ("",), (None,), ("ab", "c"), ("a", "bc"), ("abc",), "abc",
        (("ab",), "c"), {"a": 1}, (("a", 1),), "é", "\udcc3\udca9", "e\u0301", "\ud800",
    ]  # fmt: skip
    encodings = [canonical(value) for value in alike]
    assert len(set(encodings)) == len(alike)


def test_no_encoding_is_the_beginning_of_another() -> None:
    words = sorted(canonical(v) for v in ("a", "ab", "b", ("a",), ("a", "b"), 1, 12, b"a"))
    assert not any(after.startswith(word) for word, after in itertools.pairwise(words))


def test_lists_and_tuples_are_one_and_so_are_mappings() -> None:
    assert canonical([1, (2, 3)]) == canonical((1, [2, 3]))
    assert canonical({"a": 1, "b": 2}) == canonical(OrderedDict([("b", 2), ("a", 1)]))


def test_dataclasses_are_told_by_name_and_fields() -> None:
    one = dataclasses.make_dataclass("One", [("x", int)])
    two = dataclasses.make_dataclass("Two", [("x", int)])
    assert len({canonical(v) for v in (one(1), one(2), two(1), {"x": 1})}) == 4
    with pytest.raises(TypeError, match="no canonical encoding for type"):
        canonical(one)


@pytest.mark.parametrize("value", [object(), 1j, Path("a"), (1, {"a": object()})])
def test_what_has_no_encoding_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="no canonical encoding"):
        canonical(value)


def test_digests_do_not_depend_on_the_hash_seed(fresh_python: Callable[..., str]) -> None:
    script = (
        "from aot_build.digest import key_digest\n"
        "print(key_digest({'set': {'a', 'b', 'c', 1, None}, 'map': {x: x for x in 'hgfedcba'}}))"
    )
    here = key_digest(
        {"map": {x: x for x in "abcdefgh"}, "set": frozenset(["c", None, "b", 1, "a"])}
    )
    assert {fresh_python(script, PYTHONHASHSEED=seed).strip() for seed in "123"} == {here}


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_files_are_digested_whole(tmp_path: Path, size: int) -> None:
    content = bytes(i % 251 for i in range(1000)) * (size // 1000 + 1)
    path = tmp_path / "file"
    path.write_bytes(content[:size])
    assert file_digest(path) == bytes_digest(content[:size])
    assert blob_digest(path) == hashlib.sha256(content[:size]).hexdigest()
