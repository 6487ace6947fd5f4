"""What the plugin and its drivers cost beside the compilers, on this repository's own kernels.

    python bench/drivers.py [--runs 9] [--only plugin|families] [--csv FILE... [--limit N]]

Copies the checkout to a temporary folder, installs it there (the plugin alone, beside the packages
of this interpreter), and prints what the plugin costs:

- cold: `aot-build build` and `pip wheel .` with an empty cache. The share outside the compilers is
  1 - (seconds in compilers) / (slots x wall): planning, imports, forks, copies, idle slots and, for
  pip, all that pip and setuptools do. Seconds in compilers are measured in the workers: each
  command that a worker runs, each `triton.compile`, each call of a FlyDSL function.
- warm: the same with nothing to do. pip and setuptools are timed by turns with an equal project
  whose pyproject.toml declares no kernels, in an environment that has no aot_build.
- look-ups of `get`, `select` and `table` in the result, and the first `get` of a fresh process in
  a package of 5,000 variants, less an interpreter that starts and ends.

and a table of the drivers `python -m aot_kernels.<family>`, with one worker and with two: whole
processes, with an empty cache and again. They build what is declared, for the rows that ship; with
`--csv` what rows of those tables name, with `--limit` no more than so many variants a driver.

Needs setuptools, pip and the compilers of the targets that are declared.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "kernels")]

from costs.families import measure_families
from costs.place import Place
from costs.plugin import measure_cold, measure_lookups, measure_opening, measure_warm


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9, help="repetitions of what is not cold")
    parser.add_argument("--only", choices=("plugin", "families"), help="one of the two parts")
    parser.add_argument("--csv", nargs="+", type=Path, default=[], help="tables for the drivers")
    parser.add_argument("--limit", type=int, help="variants a driver, at most, with --csv")
    asked = parser.parse_args()
    version = sys.version.split()[0]
    load = os.getloadavg()[0]
    print(f"Python {version}, {os.cpu_count()} cores, load {load:.1f} at the start; medians")
    with tempfile.TemporaryDirectory(prefix="drivers-") as folder:
        place = Place(Path(folder))
        if asked.only != "families":
            print(*measure_cold(place), *measure_warm(place, asked.runs), sep="\n")
            print(*measure_lookups(place, asked.runs), sep="\n")
            print(*measure_opening(place, asked.runs), sep="\n")
        if asked.only != "plugin":
            tables = [path.resolve() for path in asked.csv]
            for line in measure_families(place, asked.runs, tables, asked.limit):
                print(line, flush=True)


if __name__ == "__main__":
    main()
