"""Names for files that are the same in every checkout.

nvcc maps no prefixes: cicc and ptxas put the names that they are given into line tables, strings
and symbols. All of its programs stand in the scratch folder, though, so that a link there gives
each root one name, `/proc/self/cwd/project`, wherever it lies.
"""

import os
import re
import shlex
from pathlib import Path

from aot_build.core.compiler_env import FIXED
from aot_build.core.roles import Roles
from aot_build.digest import bytes_digest

HERE = "/proc/self/cwd"
TOOLKIT = "toolkit"
PTXAS = """\
#!/bin/sh
# Where PTX does not tell, ptxas puts the time and the size of each source into the line table.
for word do
    case $word in *.ptx) sed -i {edits} "$word" ;; esac
done
exec {ptxas} "$@"
"""
FILE = r"[[:blank:]]*\.file[[:blank:]]\{1,\}[0-9]\{1,\}[[:blank:]]\{1,\}"
"""The directive, as PTX ISA, "Debugging Directives: .file", has it."""
EDITS = (
    rf's|^\({FILE}"\){HERE}/project/|\1./|',
    rf's|^\({FILE}"[^"]*"\)[[:blank:]]*$|\1, {FIXED["SOURCE_DATE_EPOCH"]}, 0|',
)


class Places:
    """Links to all roots in a scratch folder, and one to the toolkit that `nvcc` lies in."""

    def __init__(self, roles: Roles, scratch: str, nvcc: str) -> None:
        self._scratch = scratch
        bin_dir = os.path.dirname(nvcc)
        self._folders = {_link(role): root for role, root in roles.roots.items()}
        for name, folder in self._folders.items():
            os.symlink(folder, os.path.join(scratch, name))
        self._folders[TOOLKIT] = os.path.dirname(bin_dir)
        _lay_toolkit(Path(scratch, TOOLKIT), Path(bin_dir))
        self.nvcc = f"{HERE}/{TOOLKIT}/{os.path.basename(bin_dir)}/{os.path.basename(nvcc)}"
        """How to call the compiler: it finds its programs and headers by its own name."""
        self.roles = Roles({role: f"{HERE}/{_link(role)}" for role in roles.roots})
        """Decodes and expands to names that are the same everywhere."""

    def real(self, name: str) -> str:
        """The absolute path of a file that nvcc named."""
        for here in (HERE, self._scratch):
            if name.startswith(f"{here}/"):
                link, _, rest = name[len(here) + 1 :].partition("/")
                break
        else:
            return os.path.normpath(os.path.join(self._scratch, name))
        folder = self._folders.get(link)
        # Not the link: `..` behind it counts from the folder that it stands for.
        return os.path.normpath(
            os.path.join(self._scratch, link, rest) if folder is None else f"{folder}/{rest}"
        )

    def shown(self, text: str) -> str:
        """A message with the paths that the user knows."""
        for name, folder in self._folders.items():
            text = text.replace(f"{HERE}/{name}/", f"{folder}/")
        return text

    @property
    def headers(self) -> list[str]:
        """Folders of the toolkit that are searched after all others."""
        root = Path(self._folders[TOOLKIT])
        found = [root / "include", *sorted(root.glob("targets/*/include"))]
        return [str(path) for folder in found for path in (folder, folder / "cccl")]


def _link(role: str) -> str:
    return role if re.fullmatch(r"[\w-]+", role) else bytes_digest(role.encode())[:16]


def _lay_toolkit(folder: Path, bin_dir: Path) -> None:
    """A tree like the toolkit's, of links, in which ptxas first makes line tables repeatable."""
    (folder / bin_dir.name).mkdir(parents=True)
    for source, target in ((bin_dir.parent, folder), (bin_dir, folder / bin_dir.name)):
        for entry in os.scandir(source):
            if entry.path != str(bin_dir) and entry.name != "ptxas":
                os.symlink(entry.path, target / entry.name)
    edits = " ".join(f"-e {shlex.quote(edit)}" for edit in EDITS)
    ptxas = folder / bin_dir.name / "ptxas"
    ptxas.write_text(PTXAS.format(edits=edits, ptxas=shlex.quote(str(bin_dir / "ptxas"))))
    ptxas.chmod(0o755)
