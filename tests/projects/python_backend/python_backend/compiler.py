"""The project's own compiler: powers of a base, and the name of the target."""

from pathlib import Path


def compile_table(out_dir: str, target: str, *, base: int, size: int) -> None:
    powers = ",".join(str(base**n) for n in range(size))
    Path(out_dir, "powers.txt").write_text(f"{powers}\n")
    Path(out_dir, "notes").mkdir()
    Path(out_dir, "notes", "target.txt").write_text(f"{target}\n")
