"""The keys of `[tool.aot-build]`: their types, their defaults and, in docstrings, their meaning.

This is the one description: `docs/options.md` and `schema.json` are generated from it
(`python -m aot_build.twins --write`), and every source of settings is checked by it.
"""

import functools
from typing import Annotated, Any, Literal, get_args

import msgspec

Mode = Literal["debug", "fast", "release", "tune"]
MODES: tuple[str, ...] = get_args(Mode)

Seconds = Annotated[float, msgspec.Meta(gt=0, le=31_536_000)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Words = str | list[str]


class Table(msgspec.Struct, rename="kebab", forbid_unknown_fields=True, kw_only=True):
    """A TOML table with kebab-case keys; a key that is not a field is an error."""


class Choices(Table, kw_only=True):
    """Options that each source may set: command line, environment, `-C`, pyproject, override."""

    targets: list[str] = msgspec.field(default_factory=lambda: ["cpu"])
    """What hardware to compile for: `cpu`, `cpu:x86-64-v3`, `cuda:sm_90a`, `hip:gfx942`, ...
    `none`, alone, builds no kernel."""
    mode: Mode = "release"
    """The named choice of pipelines and flags."""
    cache_dir: str | None = None
    """Where artifacts are kept between builds. A relative path counts from the project; in
    pyproject it serves where that folder exists, and the user cache directory does elsewhere."""
    jobs: Positive | None = None
    """How many processes at once; by default as many as the machine's cores allow."""
    timeout: Seconds | None = None
    """Seconds that one action may take; by default no limit. Set outside pyproject, it replaces
    the kernels' own limits."""
    retries: Count = 2
    """How often an action that crashed, hung or ran out of memory is tried again. A compile error
    is not retried. Set outside pyproject, it replaces the kernels' own numbers."""
    memory_per_worker: int | str | None = None
    """Memory to expect of one action before any of its kernel was measured: bytes, or text such as
    `2GiB`; by default 4 GiB. No more actions start than fit. Set outside pyproject, it replaces
    the kernels' own guesses."""
    keep_going: bool = True
    """Whether the other kernels are still built once one has failed."""
    strict: bool = False
    """Whether an action fails that reads what lies outside the project and its toolchain and is not
    named in its declaration, that writes outside its own folders, or that runs a program which
    cannot be traced. Otherwise each is reported."""
    tracer: bool = True
    """Whether actions run under the tracer, a small library that is compiled once and preloaded
    into them. Without it, and where there is no C compiler, depfiles and hooks in Python tell what
    actions read: less of what they look for in vain, nothing of what other programs read."""


class Condition(Table, kw_only=True):
    """When an override holds: every pattern that is given must match (`*`, `?`, `[...]`)."""

    platform: str | None = None
    """Pattern for the operating system as Python names it: `linux`, `darwin`, `win32`."""
    machine: str | None = None
    """Pattern for the processor as Python names it: `x86_64`, `aarch64`."""
    target: str | None = None
    """Pattern for the target: `cuda:*`. Such an override may hold `defaults`, `timeout`, `retries`
    and `memory` alone, as the rest is one for all targets."""


class KernelDefaults(Table, kw_only=True):
    """Keys of a kernel that `[tool.aot-build.defaults.<backend>]` may hold as well."""

    source: Words | None = None
    """A file or a list of files; for Python backends `package.module:attribute`."""
    include_dirs: list[str] = msgspec.field(default_factory=list)
    """Folders searched for headers; `{package:NAME}` is the folder of an installed package."""
    configs: list[str | dict[str, Any]] = msgspec.field(default_factory=list)
    """Rows, each of them a variant: csv, json or toml files, inline tables (a list stands for one
    row each), or `module:function`. Without any, there is one variant."""
    targets: list[str] | None = None
    """The targets to build it for; by default every enabled one that the backend can serve."""
    flags: list[str] = msgspec.field(default_factory=list)
    """Compiler flags for every variant."""
    link_flags: list[str] = msgspec.field(default_factory=list)
    """Linker flags for every variant."""
    env: dict[str, str] = msgspec.field(default_factory=dict)
    """Environment of its actions; `{project}`, `{out_dir}` and `{target}` are filled in."""
    timeout: Seconds | None = None
    """Seconds that one of its actions may take."""
    retries: Count | None = None
    """How often one of its actions is tried again after an abnormal end."""
    memory: int | str | None = None
    """A first guess of what one of its actions needs: bytes, or text such as `2GiB`. What earlier
    builds measured goes before it."""
    required: bool = True
    """Whether a build fails where its toolchain is not found. Without, it is left out there, and an
    isolated build does not ask for its backend's packages."""


class Kernel(KernelDefaults, kw_only=True):
    """One `[[tool.aot-build.kernels]]` table; its backend adds keys of its own."""

    name: str
    """Names the kernel in the wheel: letters, digits, `_`, `.` and `-`; unique."""
    backend: str
    """Who compiles it: `cpp`, `cuda`, `triton`, `flydsl`, `python`, `export` or a plug-in's."""


class Override(Choices, kw_only=True):
    """One `[[tool.aot-build.overrides]]` table: options that hold under a condition."""

    if_: Condition = msgspec.field(name="if")
    """The condition: `{ platform = "linux*", machine = "x86_64", target = "cuda:*" }`."""
    memory: int | str | None = None
    """With `if.target`: the kernels' first guess of memory for such targets."""
    defaults: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    """Backend -> keys, added to `[tool.aot-build.defaults.<backend>]`."""


class Project(Choices, kw_only=True):
    """The table `[tool.aot-build]`."""

    package: str | None = None
    """The import package whose folder `_aot` takes the artifacts; by default the project's name
    where such a folder exists."""
    defaults: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    """Backend -> keys for every kernel of that backend. Lists are put before the kernel's own;
    of single values the kernel's own wins."""
    overrides: list[dict[str, Any]] = msgspec.field(default_factory=list)
    """Options under a condition; of two that hold, the later wins."""
    kernels: list[dict[str, Any]] = msgspec.field(default_factory=list)
    """The kernels, one table each."""


@functools.cache
def keys(model: type[msgspec.Struct]) -> dict[str, Any]:
    """Key as written -> its type, for every field of a model."""
    return {f.encode_name: f.type for f in msgspec.structs.fields(model)}
