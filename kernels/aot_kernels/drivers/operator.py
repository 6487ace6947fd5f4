"""A module that stands for the operator of its name."""

from types import ModuleType
from typing import Any


class Operator(ModuleType):
    # No docstring: that of an instance is the operator's, by the property below.
    # `aot_kernels.gemm` must work as a call whether or not `aot_kernels.gemm` was imported as a
    # module, which takes the operator's place in the package.

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, _name(self))(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        # Kept in the module from here on: this is asked for what it lacks alone.
        if name != _name(self):
            raise AttributeError(f"module {vars(self)['__name__']!r} has no attribute {name!r}")
        import aot_kernels

        function = vars(self)[name] = aot_kernels._operation(name)
        return function

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), "__all__", _name(self)})

    @property
    def __all__(self) -> list[str]:
        return [_name(self)]

    @property
    def __signature__(self) -> Any:
        import inspect

        return inspect.signature(getattr(self, _name(self)))

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        try:
            found: str | None = getattr(self, _name(self)).__doc__
        except (AttributeError, ImportError):
            # Where kernels are only compiled torch need not be installed.
            found = vars(self)["__doc__"]
        return found


def _name(module: ModuleType) -> str:
    return str(vars(module)["__name__"]).rpartition(".")[2]
