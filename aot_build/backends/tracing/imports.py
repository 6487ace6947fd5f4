"""Where an import would have found something else first, had it been there.

The importer lists whole folders; recorded as such, any new file beside a module would count. What
counts are the names that come before the one that was found (importlib.machinery.FileFinder: in
each folder of the path a package, then an extension module, then a source).
"""

import importlib.machinery
import os
import sys
from collections.abc import Iterable, Iterator

SUFFIXES = (
    *importlib.machinery.EXTENSION_SUFFIXES,
    *importlib.machinery.SOURCE_SUFFIXES,
    *importlib.machinery.BYTECODE_SUFFIXES,
)
_IMPORTERS = ("<frozen importlib", os.path.dirname(importlib.__file__) + os.sep)


def by_importer(depth: int) -> bool:
    """Whether the frame `depth` above the caller's belongs to Python's import machinery."""
    return sys._getframe(depth + 1).f_code.co_filename.startswith(_IMPORTERS)


def passed_over(name: str, folders: Iterable[str], found: str = "") -> Iterator[str]:
    """Paths that `import name` tries in `folders` before it comes to the file `found`.

    Without a file, any of them would have been one: a folder of that name too, as a part of a
    namespace package, and what the import path names and is not there.
    """
    for folder in folders:
        base = os.path.join(folder, name)
        for start in (os.path.join(base, "__init__"), base):
            for suffix in SUFFIXES:
                if start + suffix == found:
                    return
                yield start + suffix
        if not found:
            yield base
        if not os.path.isdir(folder):
            yield folder
