"""Settings of one build: command line > environment > `-C` > pyproject > defaults."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec

from aot_build.core.kernel import KernelSpec
from aot_build.core.target import Target, parse_target
from aot_build.errors import InputError
from aot_build.settings.check import check_table, size
from aot_build.settings.document import ROOT, Document, read_document
from aot_build.settings.kernels import Kernels
from aot_build.settings.layout import Layout, find_layout
from aot_build.settings.model import Choices, Project
from aot_build.settings.overrides import Rule, options, read_rules
from aot_build.settings.sources import (
    LAYOUT,
    CommandLine,
    ConfigSettings,
    Environment,
    Pyproject,
    Source,
    first,
)  # fmt: skip
from aot_build.settings.values import Limits

DEFAULTS = Choices()


@dataclass(frozen=True)
class Settings:
    """What one build is told, resolved; all paths are absolute."""

    project: Path
    package: str
    package_dir: Path
    import_roots: tuple[Path, ...]
    """Folders to put on `sys.path` for `module:function`; the project is the last."""
    targets: tuple[Target, ...]
    mode: str
    cache_dir: Path
    jobs: int | None
    timeout: float | None
    """Seconds an action, for kernels that say nothing of their own."""
    retries: int
    memory_per_worker: int | None
    """Bytes."""
    keep_going: bool
    strict: bool
    tracer: bool
    kernels: tuple[KernelSpec, ...]
    """Each with the enabled targets it is built for; one name may stand for several specs."""
    unserved: Mapping[str, str]
    """Kernel that no enabled target serves -> a note about it."""


def load(
    project: Path,
    *,
    backends: Mapping[str, type[msgspec.Struct]],
    serves: Callable[[str, Target], bool],
    env: Mapping[str, str],
    config_settings: Mapping[str, str | list[str]] | None = None,
    command_line: Mapping[str, object] | None = None,
) -> Settings | None:
    """Read the settings of a project; None where its pyproject.toml has no `[tool.aot-build]`.

    `backends` maps a backend's name to the model of its own kernel keys; `serves` says whether a
    backend can compile for a target. `command_line` maps options (kebab-case) to values or text,
    None for those not given; its `package-dir` is the package's folder, or a mapping as setuptools
    keeps it. Raises InputError.
    """
    project = project.resolve()
    document = read_document(project / "pyproject.toml")
    if document is None or (table := document.table) is None:
        return None
    check_table(table, Project, document, ROOT)
    declared_rules = read_rules(document, table.get("overrides", []))
    given = command_line or {}
    chain: list[Source] = [
        CommandLine(given),
        Environment(env),
        ConfigSettings(config_settings or {}),
        Pyproject(document, options(table, declared_rules)),
    ]
    package = first("package", chain)
    layout = find_layout(document, str(package.value) if package else None, given.get(LAYOUT))
    return _settings(
        document, layout, Chosen(chain, project), Declared(backends, serves, declared_rules)
    )


@dataclass(frozen=True)
class Bounds:
    """What bounds the work of any build of a project; None is not said."""

    jobs: int | None
    timeout: float | None
    """Seconds."""
    retries: int
    memory_per_worker: int | None
    """Bytes."""


def load_bounds(project: Path | None, env: Mapping[str, str]) -> Bounds:
    """What the environment says, else the project's pyproject.toml, if it says anything.

    Raises InputError.
    """
    chain: list[Source] = [Environment(env)]
    document = read_document(project / "pyproject.toml") if project is not None else None
    if document is not None and (table := document.table) is not None:
        check_table(table, Project, document, ROOT)
        rules = read_rules(document, table.get("overrides", []))
        chain.append(Pyproject(document, options(table, rules)))
    return Chosen(chain, project or Path.cwd()).bounds()


@dataclass(frozen=True)
class Declared:
    """What kernels are checked against."""

    backends: Mapping[str, type[msgspec.Struct]]
    serves: Callable[[str, Target], bool]
    rules: tuple[Rule, ...]

    def kernels(
        self, document: Document, chosen: "Chosen"
    ) -> tuple[tuple[KernelSpec, ...], Mapping[str, str]]:
        """The kernels to build. With the target `none` they are not even looked at: a package that
        brings a backend of its own builds itself so, before that backend is there."""
        targets = chosen.targets()
        if not targets:
            return (), {}
        table = document.table or {}
        reader = Kernels(
            document, self.backends, self.serves, targets, self.rules, chosen.limits(),
            table.get("defaults", {}),
        )  # fmt: skip
        return reader.read(table.get("kernels", []))


@dataclass(frozen=True)
class Chosen:
    """Options by the chain of sources, as their final types."""

    chain: Sequence[Source]
    project: Path

    def value(self, key: str) -> Any:
        """The first source's value, or the default of the model."""
        found = first(key, self.chain)
        return found.value if found else getattr(DEFAULTS, key.replace("-", "_"))

    def targets(self) -> tuple[Target, ...]:
        """In the order named, each once; `none` is no target."""
        found = first("targets", self.chain)
        names = cast(list[str], found.value) if found else DEFAULTS.targets
        where = " ".join(found.where.values()) if found else None
        if "none" in names and len(names) > 1:
            raise InputError("'none' stands alone", found.where if found else None)
        if names == ["none"]:
            return ()
        return tuple(dict.fromkeys(parse_target(name, where=where) for name in names))

    def memory(self) -> int | None:
        """Bytes a worker."""
        found = first("memory-per-worker", self.chain)
        return size(cast("int | str", found.value), found.where) if found else None

    def bounds(self) -> Bounds:
        """Jobs, and what each of them may take."""
        timeout = self.value("timeout")
        return Bounds(
            jobs=self.value("jobs"),
            timeout=None if timeout is None else float(timeout),
            retries=self.value("retries"),
            memory_per_worker=self.memory(),
        )

    def limits(self) -> Limits:
        """What was said for this build alone."""
        timeout, retries = first("timeout", self.chain), first("retries", self.chain)
        memory = first("memory-per-worker", self.chain)
        return Limits(
            timeout=cast(float, timeout.value) if timeout and timeout.outside else None,
            retries=cast(int, retries.value) if retries and retries.outside else None,
            memory=self.memory() if memory and memory.outside else None,
        )

    def cache_dir(self) -> Path:
        """An environment variable is used as given, so that a relative one counts from the current
        folder; a relative path of pyproject serves where the folder exists (it is part of no
        sdist)."""
        found = first("cache-dir", self.chain)
        if found is None:
            return user_cache()
        path = Path(str(found.value)).expanduser()
        if found.origin == "environment":
            return path.absolute()
        folder = self.project / path
        if path.is_absolute() or found.outside or folder.is_dir():
            return folder
        return user_cache()


def user_cache() -> Path:
    """The user's cache directory, by the conventions of the system."""
    import platformdirs

    return platformdirs.user_cache_path("aot_build").absolute()


def _settings(document: Document, layout: Layout, chosen: Chosen, declared: Declared) -> Settings:
    kernels, unserved = declared.kernels(document, chosen)
    bounds = chosen.bounds()
    return Settings(
        project=chosen.project,
        package=layout.package,
        package_dir=layout.package_dir,
        import_roots=layout.import_roots,
        targets=chosen.targets(),
        mode=chosen.value("mode"),
        cache_dir=chosen.cache_dir(),
        jobs=bounds.jobs,
        timeout=bounds.timeout,
        retries=bounds.retries,
        memory_per_worker=bounds.memory_per_worker,
        keep_going=chosen.value("keep-going"),
        strict=chosen.value("strict"),
        tracer=chosen.value("tracer"),
        kernels=kernels,
        unserved=unserved,
    )
