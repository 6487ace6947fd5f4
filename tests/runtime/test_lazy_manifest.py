"""A manifest that is parsed line by line answers as one that is parsed whole."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aot_build.core.manifest import manifest_text
from aot_build.runtime import KernelNotFound, ManifestError, _manifest
from aot_build.runtime._kernel import Kernel

LINE = '\n{"target":"cpu","row":{},"metadata":{}},'
TEXT = st.text(max_size=4) | st.sampled_from(
    [
        '"',
        "\\",
        "\n",
        '},"metadata":{',
        '"}},"metadata":{"',
        LINE,
        LINE + "\n]}",
        "é",
        "\u2028",
        "😀",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, 2, -1, 10**18, 0.0, -0.0, 1.0, 2.0, 1e22, 0.1, "1", "true", ""])
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=4)
COLUMNS = st.sampled_from(["A", "B", "row", "metadata", "target", "z"]) | TEXT.filter(bool)
ROWS = st.dictionaries(COLUMNS, VALUES, max_size=3)
TARGETS = st.sampled_from(["cpu", "cpu:x86-64-v3", "cuda:sm_90", "cuda:sm_90a"])
NAMES = st.sampled_from(["k", "kk", "k.k", "kernels", "cpu", "files"])
METADATA = st.dictionaries(
    TEXT, st.recursive(VALUES, lambda v: st.dictionaries(TEXT, v, max_size=2))
)
LISTED = st.dictionaries(
    NAMES, st.lists(st.tuples(TARGETS, ROWS, METADATA), max_size=6), max_size=4
)


def spelled(row: Mapping[str, Any]) -> str:
    """Equal for rows that are the same, types included."""
    return json.dumps(dict(sorted(row.items())))


def manifest_of(listed: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest without equal rows in a target, as none of a build has any."""
    kernels = {}
    for name, variants in sorted(listed.items()):
        unique = {(target, spelled(row)): (row, more) for target, row, more in variants}
        kernels[name] = {
            "backend": f"backend of {name}",
            "variants": [
                {
                    "target": target,
                    "row": dict(sorted(row.items())),
                    "metadata": {**more, "number": number},
                    "toolchain": "d",
                    "files": {"a": {"path": f"{name}/{number}", "sha256": "0", "size": 1}},
                }
                for number, ((target, _), (row, more)) in enumerate(sorted(unique.items()))
            ],
        }
    head = {"version": 1, "package": "p", "mode": LINE, "producer": "", "toolchains": {"d": {}}}
    return {**head, "kernels": kernels}


def frozen(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(map(frozen, value))
    return (bool, value) if isinstance(value, bool) else value


def expected(variants: list[Any], target: str, row: Mapping[str, Any]) -> Any:
    """What a look-up is to find: by going through all that there is."""
    same = [
        v["metadata"]["number"]
        for v in variants
        if v["target"] == target
        and v["row"].keys() == row.keys()
        and all(frozen(v["row"][name]) == frozen(value) for name, value in row.items())
    ]
    exact = [n for n in same if spelled(variants[n]["row"]) == spelled(row)]
    return exact[0] if exact else same[0] if same else None


def askings(
    made: Mapping[str, Any], others: list[Any]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each row that is shipped, the same with other types, and some that may not be there."""
    for name, kernel in made["kernels"].items():
        for variant in kernel["variants"]:
            for target in ("cpu", variant["target"], "cuda:sm_90"):
                row = variant["row"]
                yield name, target, row
                for other in (lambda v: v + 0.0, int, bool, lambda v: tuple(v), str, lambda v: [v]):
                    changed = dict(row)
                    for column, value in row.items():
                        with contextlib.suppress(TypeError, ValueError, OverflowError):
                            changed[column] = other(value)
                    yield name, target, changed
        yield from ((name, target, row) for target, row in others)


@pytest.mark.slow
@given(LISTED, st.lists(st.tuples(TARGETS, ROWS), max_size=4))
@example({"k": [("cpu", {"X": v}, {}) for v in (True, 1, 1.0, "1", [1], None)]}, [])
@example({"k": [("cpu", {"X": 0.0}, {}), ("cpu", {"X": -0.0}, {})], "kk": [("cpu", {}, {})]}, [])
def test_lazy_is_whole(tmp_path_factory: Any, listed: Any, others: Any) -> None:
    folder = tmp_path_factory.getbasetemp()
    made = manifest_of(listed)
    found = []
    for text in (manifest_text(made), json.dumps(made), json.dumps(made, indent=1)):
        (folder / "manifest.json").write_text(text)
        found.append(_manifest.Manifest(str(folder / "manifest.json")))
    lazy, *whole = found
    assert lazy._shelves is not None or not all(k["variants"] for k in made["kernels"].values())
    assert [w._shelves for w in whole] == [None, None]
    assert all(each.parsed() == made for each in found)
    assert all(list(each.backends()) == list(made["kernels"]) for each in found)
    kernels = {name: [Kernel(each.shelf(name)) for each in found] for name in made["kernels"]}
    for name, target, row in askings(made, others):
        answers = [look_up(kernel, target, row) for kernel in kernels[name]]
        assert answers[0] == answers[1] == answers[2]
        assert answers[0][0] == expected(made["kernels"][name]["variants"], target, row)


def look_up(kernel: Kernel, target: str, row: dict[str, Any]) -> tuple[Any, ...]:
    """All that can be told of a row."""
    found = kernel.find([target], row, None)
    number = found.metadata["number"] if found else None
    shown = None if found else str(kernel.miss([target], target, row, None))
    shipped = [a.metadata["number"] for a in kernel.shipped(target, ("cuda", 9, 0))]
    return number, found and (found.target, found.row, found.files), shown, shipped, kernel.targets


def test_a_look_up_parses_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("cpu", {"N": n}, {"padding": "x" * 1000}) for n in range(100)]
    (tmp_path / "manifest.json").write_text(manifest_text(manifest_of({"k": rows, "kk": rows})))
    parsed = []
    loads = json.loads
    monkeypatch.setattr(
        _manifest.json, "loads", lambda text: parsed.append(len(text)) or loads(text)
    )
    kernel = Kernel(_manifest.Manifest(str(tmp_path / "manifest.json")).shelf("kk"))
    for _ in range(2):
        found = kernel.find(["cpu"], {"N": 77}, None)
        assert found is not None and found.row == {"N": 77}
    assert sum(parsed) < 1500
    # One that is not there needs all rows of its kernel, and nothing else of them.
    assert kernel.find(["cpu"], {"N": 100}, None) is None
    assert sum(parsed) < 10_000


@pytest.mark.parametrize("kept", [0, 1, 20, 150, -300, -20, -4, -3, -2, -1])
def test_what_was_cut_off_is_damaged(tmp_path: Path, kept: int) -> None:
    text = manifest_text(manifest_of({"k": [("cpu", {"N": n}, {}) for n in range(9)]}))
    path = tmp_path / "manifest.json"
    path.write_text(text[:kept])
    if kept == -1:  # the line break at the end
        assert _manifest.Manifest(str(path)).parsed() == json.loads(text)
    else:
        with pytest.raises(ManifestError, match="is damaged"):
            _manifest.Manifest(str(path))


def test_a_damaged_line_spares_the_others(tmp_path: Path) -> None:
    text = manifest_text(manifest_of({"k": [("cpu", {"N": n}, {}) for n in range(9)]}))
    path = tmp_path / "manifest.json"
    path.write_text(text.replace('{"number":5}', '{"number":}'))
    kernel = Kernel(_manifest.Manifest(str(path)).shelf("k"))
    assert kernel.find(["cpu"], {"N": 4}, None)
    with pytest.raises(ManifestError, match="damaged at kernel 'k'"):
        kernel.find(["cpu"], {"N": 5}, None)
    with pytest.raises(KernelNotFound):
        raise kernel.miss(["cpu"], "cpu", {"N": 10}, None)
