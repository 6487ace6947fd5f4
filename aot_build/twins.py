"""Generated twins of the settings models: `python -m aot_build.twins --write`.

The JSON schema and the reference of the options come from the models of settings/ and of the
built-in backends; a test, and CI, fail where they differ from what is in the tree.
"""

import argparse
import json
import sys
from pathlib import Path

from aot_build.backends.registry import BUILT_IN, Registry
from aot_build.settings.reference import markdown
from aot_build.settings.schema import SCHEMA, make_schema

OPTIONS = Path(__file__).parents[1] / "docs" / "options.md"


def twins() -> dict[Path, str]:
    """The generated files, and what they must hold."""
    registry = Registry()
    backends = {name: registry.get(name).options for name in BUILT_IN}
    schema = json.dumps(make_schema(backends), indent=2, sort_keys=True) + "\n"
    return {SCHEMA: schema, OPTIONS: markdown(backends)}


def main(arguments: list[str]) -> int:
    """Write the generated files, or say which of them are out of date (exit status 1)."""
    parser = argparse.ArgumentParser(prog="python -m aot_build.twins")
    parser.add_argument("--write", action="store_true", help="write the generated files")
    write = parser.parse_args(arguments).write
    old = {f: t for f, t in twins().items() if not f.is_file() or f.read_text("utf-8") != t}
    for file, text in old.items():
        if write:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        print(f"{'wrote' if write else 'out of date:'} {file}")
    return 1 if old and not write else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
