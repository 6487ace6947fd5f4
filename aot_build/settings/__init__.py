"""Settings: what a build is told, from whichever place says so first."""

from aot_build.settings.load import Bounds, Settings, load, load_bounds

__all__ = ["Bounds", "Settings", "load", "load_bounds"]
