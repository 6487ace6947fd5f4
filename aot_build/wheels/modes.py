"""File modes that do not depend on the umask of whoever builds: zip archives record them."""

from __future__ import annotations

import os
import stat


def settle_modes(root: str | os.PathLike[str]) -> None:
    """Set every regular file below `root` to 0755 where its owner may execute it, else 0644."""
    for parent, _, names in os.walk(root):
        for name in names:
            path = os.path.join(parent, name)
            mode = os.lstat(path).st_mode
            if not stat.S_ISREG(mode):
                continue
            wanted = 0o755 if mode & stat.S_IXUSR else 0o644
            if stat.S_IMODE(mode) != wanted:
                os.chmod(path, wanted)
