"""A build_ext of the project's own, with an option of its own."""

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class GeneratingBuildExt(build_ext):
    user_options = [*build_ext.user_options, ("answer=", None, "what the extension answers")]

    def initialize_options(self):
        super().initialize_options()
        self.answer = 42

    def build_extension(self, ext):
        ext.define_macros = [*ext.define_macros, ("ANSWER", str(self.answer))]
        super().build_extension(ext)


setup(
    cmdclass={"build_ext": GeneratingBuildExt},
    ext_modules=[Extension("with_setup_py_build_ext.native", ["with_setup_py_build_ext/native.c"])],
)
