"""A compiler of the project's own, of which only some files are to ship."""

from pathlib import Path


def square(out_dir, target, n):
    Path(out_dir, "square.txt").write_text(f"{n * n}\n")
    Path(out_dir, "square.log").write_text("not for the wheel\n")
