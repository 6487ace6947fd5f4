"""Environment variables, as inputs of actions."""

import re
from collections.abc import Mapping

from aot_build.core import threads

WHOLE = "*"
"""Stands in a trace for every variable that may shape what is built: somebody read them all."""
UNRECORDED = frozenset(
    {"PATH", "PYTHONPATH", "HOME", "USER", "LOGNAME", "HOSTNAME", "TMPDIR", "TEMP", "TMP", "PWD",
     "OLDPWD", "COLUMNS", "LINES", "TERM", "PYTHONHASHSEED", "NO_COLOR", "MAX_JOBS", "MAKEFLAGS",
     "MAKELEVEL", "MFLAGS", "CARGO_MAKEFLAGS", "TRITON_CACHE_DIR", "TRITON_HOME",
     *threads.VARIABLES}
)  # fmt: skip
"""They differ between users, machines and isolated builds without changing what is built; those
about threads are the same in each worker, and what a kernel declares of them is keyed as that."""
_AMBIENT = re.compile(
    # The screen, the user, the user's language.
    r"LANG|LANGUAGE|LC_\w+|TZ|TERM\w*|COLORTERM|CLICOLOR\w*|\w+_COLORS?|FORCE_COLOR|SHELL|SHLVL"
    r"|DISPLAY|EDITOR|VISUAL|PAGER|LESS\w*|MAIL|HOSTTYPE|HIST\w+|SSH_\w+|XDG_\w+|DBUS_\w+|TMUX\w*"
    # Terminals, desktops and sessions: they number themselves.
    r"|WINDOWID|WAYLAND_\w+|XAUTHORITY|SESSION_MANAGER|DESKTOP_\w+|STY|VTE_\w+|GNOME_\w+"
    r"|KONSOLE_\w+|ITERM_\w+|KITTY_\w+|WEZTERM_\w+|ALACRITTY_\w+|ZELLIJ\w*|VSCODE_\w+|WT_\w+|WSL\w*"
    r"|SUDO_\w+|GPG_\w+|SYSTEMD_\w+|MANAGERPID|MEMORY_PRESSURE_\w+"
    # Loaders and libraries of the system.
    r"|LD_\w+|MALLOC_\w+|GLIBC_TUNABLES|POSIXLY_CORRECT|NLSPATH|LOCPATH|CHARSET|OUTPUT_CHARSET"
    r"|TEXTDOMAIN\w*|GCONV_PATH|BASH\w*|ENV|CDPATH|IFS|PS\d|COLLECT_\w+|_\w*"
    # Front ends, interpreters, test runners.
    r"|AOT_\w+|PIP_\w+|UV_\w+|PEP517_\w+|VIRTUAL_ENV\w*|CONDA_\w+|PYENV_\w+|PYTHON\w+|PYTEST_\w+"
    r"|COVERAGE_\w+|TOX_\w+|NOX_\w+|CIBW_\w+|CIBUILDWHEEL|CI|CI_\w+|GITHUB_\w+|ACTIONS_\w+"
    r"|GITLAB_\w+|RUNNER_\w+|BUILDKITE\w*|JENKINS_\w+|JOB_\w+"
    r"|BUILD_(?:ID|NUMBER|URL|TAG)|TRAVIS\w*|CIRCLE\w*|INVOCATION_ID|JOURNAL_STREAM"
    # Batch systems; what distutils sets for whatever runs below it.
    r"|SLURM\w*|PBS_\w+|LSB_\w+|KUBERNETES_\w+|PLAT"
)
_READ_ALL = re.compile(
    r"(?:[bdkz]?a?sh|ksh\d*|mksh|busybox|python[\d.]*|pypy[\d.]*|perl[\d.]*|ruby[\d.]*|node|lua[\d.]*"
    r"|tclsh[\d.]*|g?make|env|printenv|go|java|[gmn]?awk|original-awk|fish|t?csh|pwsh|php[\d.]*|R"
    r"|Rscript|julia|deno|bun)"
)


def is_ambient(name: str) -> bool:
    """Whether programs and libraries look the variable up for the sake of the screen, the user's
    language or one another. Asked for by the project's own code, it counts all the same."""
    return name in UNRECORDED or _AMBIENT.fullmatch(name) is not None


def reads_all(program: str) -> bool:
    """Whether a program, by the name of its file, takes its whole environment over, rather than
    asking for one variable after the other."""
    return _READ_ALL.fullmatch(program) is not None


def trusts_times(program: str) -> bool:
    """Whether a program takes a file for unchanged that has the size and the times that it knows,
    so that a look at it stands for its content."""
    return program in ("git", "make", "gmake", "ninja", "rsync")


def shaping(env: Mapping[str, str]) -> dict[str, str]:
    """What counts of an environment that somebody has read as a whole."""
    return {name: env[name] for name in sorted(env) if not is_ambient(name)}
