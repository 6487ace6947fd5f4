"""This checkout builds itself: the plugin is used without being installed.

An isolated build environment holds no entry point of this project, so the hook is called by hand.
Where the plugin is installed as well, its entry point finds the hook already applied.
"""

import os
import sys

import setuptools

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from aot_build.commands import hook


class SelfHosted(setuptools.Distribution):
    def finalize_options(self) -> None:
        hook.finalize(self)
        super().finalize_options()


setuptools.setup(distclass=SelfHosted)
