"""The rows of a kernel: out of files, out of the declaration, out of what code has yielded."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from aot_build.core.kernel import KernelSpec
from aot_build.core.row import code_row, is_code
from aot_build.errors import InputError, nearest
from aot_build.specs.row import RawRow, expanded
from aot_build.specs.tables import read_table


def read_rows(spec: KernelSpec, project: Path) -> tuple[list[RawRow], list[str]]:
    """The rows of files and of the declaration, in its order; then its `module:function` entries.

    The latter are not called here: what they yield is for `rows_from_code`. Files count from the
    project. Raises InputError.
    """
    rows: list[RawRow] = []
    code: list[str] = []
    for index, entry in enumerate(spec.configs):
        if not isinstance(entry, str):
            rows += expanded(_pairs(entry), f"kernel {spec.name!r} configs[{index}]")
        elif is_code(entry):
            code.append(entry)
        else:
            rows += read_table(_existing(spec, project, entry), entry)
    return rows, code


def config_files(spec: KernelSpec, project: Path) -> tuple[Path, ...]:
    """The files that `read_rows` reads. Raises InputError where one is missing."""
    names = [e for e in spec.configs if isinstance(e, str) and not is_code(e)]
    return tuple(_existing(spec, project, name) for name in names)


def _pairs(entry: object) -> Mapping[object, object]:
    """An inline row, which a spec holds as pairs since it must be hashable."""
    if isinstance(entry, Mapping):
        return entry
    return dict(entry) if isinstance(entry, tuple) else {}


def _existing(spec: KernelSpec, project: Path, name: str) -> Path:
    file = project / name
    if file.is_file():
        return file
    folder = file.parent
    while not folder.is_dir():
        folder = folder.parent
    near = nearest(file.name, [p.name for p in folder.iterdir()])
    hint = f"did you mean {str(Path(name).parent / near)!r}?" if near else None
    if folder != file.parent:
        hint = f"{str(file.parent)!r} does not exist, {str(folder)!r} does"
    fields = {"kernel": spec.name, "searched": file}
    what = "is a folder" if file.is_dir() else "does not exist"
    raise InputError(f"configs file {name!r} {what}", fields, hint)


def rows_from_code(dicts: Iterable[tuple[int, Mapping[str, object]]], where: str) -> list[RawRow]:
    """What `module:function` yielded, each with its number, as rows; `where` names the function.

    A list is one value here (a tuple), as code writes its own loops. The keys `source`, `flags`,
    `include-dirs` and `link-flags` (also with `_`) extend those of the kernel: text, or a list of
    it. Raises InputError.
    """
    rows = []
    for number, item in dicts:
        place = f"{where} row {number}"
        row = code_row(item, place)
        rows.append(RawRow(row.values, place, row.extends))
    return rows
