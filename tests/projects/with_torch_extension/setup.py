"""torch's BuildExtension, as a class with options."""

from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

setup(
    cmdclass={"build_ext": BuildExtension.with_options(no_python_abi_suffix=True)},
    ext_modules=[CppExtension("with_torch_extension.native", ["with_torch_extension/native.cpp"])],
)
