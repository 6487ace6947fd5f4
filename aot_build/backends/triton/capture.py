"""A plain function's launches -> specialisations, exactly those of the ordinary launches.

The function runs in a process where everything describes the target (stand_in.py); what it
launches is noted where Triton would compile it, and goes no further. An autotuner's configurations
are all launched, or those that the declaration keeps.
"""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aot_build.backends.triton.compile import MACHINES_OWN
from aot_build.backends.triton.program import program_of
from aot_build.backends.triton.stand_in import run_once
from aot_build.backends.triton.values import NotData, as_text, encode, function_name
from aot_build.digest import key_digest
from aot_build.errors import InputError

Keep = Callable[..., bool]
"""`keep(config, target, **row)`: whether a configuration of an autotuner is to be built. Where it
takes `function`, that is the name of the kernel."""


class Capture:
    """Notes the launches of one process. Start it before the function runs; it stays."""

    def __init__(self, target: str, keep: Keep | None = None) -> None:
        self._target, self._keep = target, keep
        self._row: Mapping[str, Any] = {}
        self._number = 0
        self._config: dict[str, Any] | None = None
        """The configuration of an autotuner that is being launched."""
        self._measured = False
        """Whether others of that tuner can stand in for it."""
        self._programs: dict[str, str] = {}
        self.functions: dict[str, Any] = {}
        """Every JIT function that was launched, by `making`."""
        self._launches: dict[str, dict[str, Any]] = {}

    def start(self) -> None:
        """Note launches from here on."""
        from triton.runtime.autotuner import Autotuner
        from triton.runtime.jit import JITFunction

        capture = self
        bench, prune, tune = Autotuner._bench, Autotuner.prune_configs, Autotuner.run

        def noted(function: Any, key: Any, signature: Any, device: Any, constants: Any,
                  options: Any, attrs: Any, warmup: bool) -> None:  # fmt: skip
            capture.note(function, signature, constants, options, attrs)

        def benched(tuner: Any, *args: Any, config: Any, **meta: Any) -> Any:
            # An instance's own way to measure would measure.
            tuner.__dict__["do_bench"] = run_once
            capture._config, capture._measured = config.all_kwargs(), True
            try:
                return bench(tuner, *args, config=config, **meta)
            finally:
                capture._config, capture._measured = None, False

        def pruned(tuner: Any, kwargs: Any) -> Any:
            kept = capture._kept(prune(tuner, kwargs), tuner)
            if len(kept) == 1:
                # It is launched without having been measured.
                capture._config = kept[0].all_kwargs()
            return kept

        def tuned(tuner: Any, *args: Any, **kwargs: Any) -> Any:
            # What was chosen for an earlier launch says nothing of this one's specialisation.
            tuner.cache.clear()
            try:
                return tune(tuner, *args, **kwargs)
            finally:
                capture._config = None

        JITFunction._do_compile = noted
        Autotuner._bench, Autotuner.prune_configs, Autotuner.run = benched, pruned, tuned
        Autotuner.check_disk_cache = lambda tuner, key, configs, measure: measure() or False

    def run(self, function: Callable[..., object], rows: Sequence[Mapping[str, Any]]) -> None:
        """Call the function for each row. Raises what it raises, InputError without a launch."""
        for number, row in enumerate(rows):
            self._number, self._row = number, row
            before = sum(len(launch["rows"]) for launch in self._launches.values())
            function(**row)
            if sum(len(launch["rows"]) for launch in self._launches.values()) == before:
                raise InputError(
                    "the function launched no Triton kernel",
                    {"function": _name(function), "row": dict(row), "target": self._target},
                    "it must launch on tensors; is there a fall-back for CPUs in it?",
                )

    def _kept(self, configs: Sequence[Any], tuner: Any) -> Sequence[Any]:
        if self._keep is None:
            return configs
        asked = {"target": self._target, **self._row}
        if "function" in inspect.signature(self._keep).parameters:
            asked["function"] = tuner.base_fn.__name__
        kept = [c for c in configs if self._keep(config=c.all_kwargs(), **asked)]
        if not kept:
            raise InputError(
                f"`keep` leaves no configuration of {tuner.base_fn.__name__}",
                {"row": dict(self._row), "target": self._target, "of": len(configs)},
            )
        return kept

    def launch(
        self, function: Any, signature: Any, constants: Any, options: Any, attrs: Any
    ) -> dict[str, Any]:
        """A launch as data; see signature.py. Raises InputError."""
        return {
            "function": function_name(function),
            "signature": [[name, _listed(kind)] for name, kind in signature.items()],
            "constants": [[list(path), self._data(v)] for path, v in sorted(constants.items())],
            "attrs": [[list(path), _listed(found)] for path, found in sorted(attrs.items())],
            "options": {n: v for n, v in vars(options).items() if n not in MACHINES_OWN},
            "constexprs": [function.arg_names[index] for index in function.constexprs],
        }

    def note(self, function: Any, signature: Any, constants: Any, options: Any, attrs: Any) -> None:
        """Told of each launch that Triton would compile."""
        launch = self.launch(function, signature, constants, options, attrs)
        making = making_of(function)
        identity = json.dumps([launch, making], sort_keys=True)
        known = self._launches.get(identity)
        if known is None:
            # The best of a choice is launched once more: that makes it no launch that must do.
            choice: dict[str, Any] = {"choice": self._measured}
            if self._config is not None:
                choice["config"] = _listed(self._config)
            passed = [v for v in constants.values() if hasattr(v, "cache_key")]
            program = self._program([function, *passed])
            known = {
                "launch": launch,
                "rows": [],
                "program": program,
                "making": making,
                "source": function.cache_key,
                "functions": {function_name(f): f.cache_key for f in passed},
                "defaults": defaults_of(options),
                **choice,
            }
            self._launches[identity] = known
            self.functions[making] = function
        if self._number not in known["rows"]:
            known["rows"].append(self._number)

    def _data(self, value: Any) -> Any:
        try:
            found = encode(value)
            if isinstance(value, tuple) and '"jit"' in as_text(found):
                raise NotData("a tuple of JIT functions")
            return found
        except NotData as error:
            raise InputError(
                f"a launch has a constant that cannot be kept: {error}",
                {"row": dict(self._row), "target": self._target},
                "constants may be numbers, text, None, dtypes, JIT functions, and tuples of all"
                " but the last",
            ) from None

    def _program(self, functions: list[Any]) -> str:
        """The program of a launch as text; empty where only its own modules can make it again."""
        name = ",".join(map(making_of, functions))
        if name not in self._programs:
            try:
                self._programs[name] = as_text(program_of(functions))
            except NotData:
                self._programs[name] = ""
        return self._programs[name]

    def findings(self) -> dict[str, Any]:
        """All launches, in the order in which they were made; programs are told once."""
        programs = sorted({launch["program"] for launch in self._launches.values()})
        numbered = {text: number for number, text in enumerate(programs)}
        launches = [
            {**launch, "program": numbered[launch["program"]]} for launch in self._launches.values()
        ]
        return {"launches": launches, "programs": programs}


def making_of(function: Any) -> str:
    """A digest that tells apart the functions of one name that a function of Python makes.

    Triton's own leaves out which of its builtins they close over.
    """
    closed = inspect.getclosurevars(function.fn).nonlocals
    told = {
        name: getattr(value, "cache_key", None)
        or f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', repr(value))}"
        for name, value in closed.items()
    }
    return key_digest((function_name(function), function.cache_key, told))


def defaults_of(options: Any) -> list[str]:
    """Names of the options that the launch left at the target's default."""
    from triton.compiler import make_backend
    from triton.runtime.driver import driver

    plain = vars(make_backend(driver.active.get_current_target()).parse_options({"debug": False}))
    return sorted(n for n, v in vars(options).items() if plain.get(n) == v)


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _listed(each) for name, each in value.items()}
    return [_listed(each) for each in value] if isinstance(value, list | tuple) else value


def _name(function: Any) -> str:
    return f"{getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', function)}"
