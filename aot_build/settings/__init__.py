"""Settings: what a build is told, from whichever place says so first."""

from aot_build.settings.load import Settings, load

__all__ = ["Settings", "load"]
