"""The options that build_ext gains; given there they apply to the whole run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from setuptools import errors

if TYPE_CHECKING:
    from setuptools import Distribution

USER_OPTIONS: list[tuple[str, str | None, str]] = [
    ("aot", None, "build the kernels declared in [tool.aot-build] (default where declared)"),
    ("no-aot", None, "build no kernels"),
    ("aot-jobs=", None, "number of kernel compiles at a time"),
    ("aot-target=", None, "target to build for, such as cuda:sm_90a; may be repeated"),
    ("aot-mode=", None, "debug, fast, release or tune"),
    ("aot-keep-going", None, "build the other kernels after one has failed"),
]
BOOLEAN_OPTIONS = ["aot", "aot-keep-going"]
NEGATIVE_OPTIONS = {"no-aot": "aot"}
ATTRIBUTES = ("aot", "aot_jobs", "aot_target", "aot_mode", "aot_keep_going")


@dataclass(frozen=True)
class Options:
    """None means: as configured elsewhere."""

    on: bool = True
    jobs: int | None = None
    targets: list[str] | None = None
    mode: str | None = None
    keep_going: bool | None = None

    @classmethod
    def of(cls, dist: Distribution) -> Options:
        """Read the options of build_ext, whether or not it exists yet. Raises OptionError.

        A command that is made before the command line is read would never see its options, so
        none is made here.
        """
        values = _values(dist)
        return cls(
            on=_flag(values["aot"]) is not False,
            jobs=_count(values["aot_jobs"]),
            targets=_words(values["aot_target"]),
            mode=values["aot_mode"],
            keep_going=_flag(values["aot_keep_going"]),
        )


def switched_off(
    table: Mapping[str, Any],
    env: Mapping[str, str],
    settings: Mapping[str, str | list[str]],
    options: Options,
) -> bool:
    """Whether the first source that names targets says `none`."""
    sources = (
        options.targets,
        env.get("AOT_BUILD_TARGETS"),
        settings.get("aot.targets"),
        table.get("targets"),
    )
    for source in sources:
        words = _words(source)
        if words:
            return [word.lower() for word in words] == ["none"]
    return False


def _values(dist: Distribution) -> dict[str, Any]:
    command = dist.get_command_obj("build_ext", create=False)
    if command is not None:
        return {name: getattr(command, name, None) for name in ATTRIBUTES}
    given = {name: value for name, (_, value) in dist.get_option_dict("build_ext").items()}
    return {name: given.get(name) for name in ATTRIBUTES}


def _flag(value: object) -> bool | None:
    """A flag as a command line or a configuration file gives it."""
    if not isinstance(value, str):
        return None if value is None else bool(value)
    word = value.strip().lower()
    if word in ("1", "y", "yes", "t", "true", "on"):
        return True
    if word in ("0", "n", "no", "f", "false", "off"):
        return False
    raise errors.OptionError(f"build_ext: expected true or false, got {value!r}")


def _words(value: object) -> list[str] | None:
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    return [str(word) for word in value] if isinstance(value, (list, tuple)) else None


def _count(value: object) -> int | None:
    if value is None:
        return None
    try:
        count = int(str(value))
    except ValueError:
        count = 0
    if count < 1:
        raise errors.OptionError(f"--aot-jobs: expected a whole number above 0, got {value!r}")
    return count
