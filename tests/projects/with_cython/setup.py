"""Cython's own build_ext class."""

from Cython.Distutils import build_ext
from setuptools import Extension, setup

setup(
    cmdclass={"build_ext": build_ext},
    ext_modules=[Extension("with_cython.native", ["with_cython/native.pyx"])],
)
