"""The command line: `aot-build`, or `python -m aot_build`. Thin: it asks, waits and prints.

Exit status: 0 done; 1 a kernel failed; 2 wrong usage or configuration; 130 interrupted.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from aot_build._version import VERSION
from aot_build.arguments import Parser, add_gc_options, positive
from aot_build.asking import add_build_options, answer, ask, pairs, run_command
from aot_build.errors import EnvironmentProblem, InputError
from aot_build.report.display import add_options, open_console

RUNTIME = "compile nothing; say which shipped kernels production would not find and compile anew"
SAMPLE = 10
"""Variants that `verify` builds again."""
SETTING = "a setting, as a wheel build takes it; repeatable"


def main(arguments: list[str]) -> int:
    """Run one command. Returns the exit status."""
    return run_command(_parser(), arguments, lambda chosen: int(chosen.run(chosen)))


def _build(chosen: argparse.Namespace) -> int:
    asked = ask(chosen, project=chosen.project, targets=chosen.target, kernels=chosen.kernel)
    return answer(chosen, asked)


def _plan(chosen: argparse.Namespace) -> int:
    from aot_build.frontend import start
    from aot_build.report.keepsakes import listening
    from aot_build.report.reasons import planned
    from aot_build.rows import as_json

    with listening(open_console(chosen, sys.stderr)) as emit:
        asked = start(
            chosen.project,
            targets=chosen.target,
            mode=chosen.mode,
            kernels=chosen.kernel,
            config_settings=pairs(chosen.config),
            emit=emit,
            goal="plan",
        )
        asked.wait()
    rows = asked.listed
    failed = sum(row.failed for row in rows)
    if chosen.json:
        print(as_json(rows))
        return 1 if failed else 0
    print("\n".join(planned(rows, every=chosen.all)))
    return 1 if failed else 0


def _explain(chosen: argparse.Namespace) -> int:
    from aot_build.explain import explain
    from aot_build.report.reasons import explained
    from aot_build.rows import as_json

    rows = explain(Path(chosen.project), chosen.name, chosen.target, chosen.mode)
    if chosen.json:
        print(as_json(rows))
    else:
        print("\n".join(explained(rows, every=chosen.all)))
    return 0


def _passes(chosen: argparse.Namespace) -> int:
    from aot_build.core.target import parse_target
    from aot_build.pipelines.modes import MODES, passes

    modes = [chosen.mode] if chosen.mode else list(MODES)
    named = chosen.target or _declared_targets(chosen.project) or ["cpu"]
    targets = [parse_target(name) for name in dict.fromkeys(named)]
    listed = {
        mode: {str(t): [(p.name, p.flags) for p in passes(mode, t)] for t in targets}
        for mode in modes
    }
    if chosen.json:
        print(json.dumps(listed))
        return 0
    for mode in modes:
        for target in targets:
            print(f"{mode} for {target}:")
            for name, flags in listed[mode][str(target)]:
                print(f"  {name:<24} {' '.join(flags).replace('{arch}', target.arch)}")
    return 0


def _declared_targets(project: str) -> list[str]:
    from aot_build.opening import load_settings
    from aot_build.request import Request

    settings, _ = load_settings(Request(project=os.path.realpath(project)))
    return [str(target) for target in settings.targets] if settings else []


def _verify(chosen: argparse.Namespace) -> int:
    if chosen.runtime:
        if chosen.sample is not None:
            raise InputError(
                "--sample says how many are built again; --runtime looks all of them up"
            )
        return _verify_runtime(chosen)
    if chosen.installed or chosen.wheel:
        raise InputError("--installed and --wheel say what --runtime examines")
    from aot_build.frontend import start
    from aot_build.report.keepsakes import listening
    from aot_build.report.reasons import BAD, verified
    from aot_build.rows import as_json

    with listening(open_console(chosen, sys.stderr)) as emit:
        asked = start(
            chosen.project,
            targets=chosen.target,
            mode=chosen.mode,
            kernels=chosen.kernel,
            sample=None if chosen.all else chosen.sample or SAMPLE,
            emit=emit,
            goal="verify",
        )
        asked.wait()
    rows = asked.verified
    if chosen.json:
        print(as_json(rows))
    else:
        print("\n".join(verified(rows)))
    return 1 if any(row.verdict in BAD for row in rows) else 0


def _verify_runtime(chosen: argparse.Namespace) -> int:
    from aot_build.lookups import verify_runtime
    from aot_build.report.reasons import BAD, looked_up
    from aot_build.rows import as_json

    rows = verify_runtime(
        chosen.project,
        kernels=chosen.kernel,
        targets=chosen.target,
        mode=chosen.mode,
        installed=chosen.installed,
        wheel=chosen.wheel,
    )
    if chosen.json:
        print(as_json(rows))
    else:
        print("\n".join(looked_up(rows, every=chosen.all)))
    return 1 if any(row.verdict in BAD for row in rows) else 0


def _trace(chosen: argparse.Namespace) -> int:
    from aot_build.report.keepsakes import trace_of, write_trace

    traced = trace_of(chosen.project)
    if chosen.output in (None, "-"):
        print(json.dumps(traced))
        return 0
    try:
        write_trace(traced, Path(chosen.output))
    except OSError as error:
        raise EnvironmentProblem("the trace cannot be written", {"error": error}) from error
    return 0


def _stats(chosen: argparse.Namespace) -> int:
    from aot_build.stats import stats

    found = stats(Path(chosen.project))
    if chosen.json:
        print(json.dumps(asdict(found)))
    else:
        print("\n".join(found.lines()))
    return 0


def _gc(chosen: argparse.Namespace) -> int:
    from aot_build.gc import gc
    from aot_build.store.gc import Limits

    limits = Limits(chosen.max_size, chosen.max_age)
    report = gc(Path(chosen.project), chosen.cache_dir, limits, dry_run=chosen.dry_run)
    print(json.dumps(report.values()) if chosen.json else "\n".join(report.lines()))
    return 0


def _clean(chosen: argparse.Namespace) -> int:
    from aot_build import snapshot

    folder = Path(chosen.project, *snapshot.FOLDER)
    existed = folder.is_dir()
    try:
        shutil.rmtree(folder)
    except OSError as error:
        # One file that stays, or that a build has just taken away itself, must not keep the others.
        shutil.rmtree(folder, ignore_errors=True)
        if os.path.lexists(folder):
            fields = {"folder": folder, "error": error}
            raise EnvironmentProblem("not everything could be removed", fields) from error
    if chosen.json:
        print(json.dumps({"removed": str(folder) if existed else None}))
        return 0
    print(f"removed {folder}" if existed else f"nothing to remove: {folder}")
    print("the cache was left alone")
    return 0


def _doctor(chosen: argparse.Namespace) -> int:
    from aot_build.doctor import examine

    found = examine(os.environ)
    if chosen.json:
        print(json.dumps([asdict(each) for each in found]))
        return 0
    for each in found:
        print("\n".join(each.lines()))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="aot-build", description="Compile kernels ahead of time, once.")
    parser.add_argument("--version", action="version", version=f"aot-build {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def command(
        name: str, run: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.add_argument("--project", default=".", metavar="DIR", help="default: this folder")
        if run is not _build:
            added.add_argument("--json", action="store_true", help="print JSON on standard output")
        added.set_defaults(run=run)
        return added

    build = command("build", _build, "compile what is not built yet, into build/aot")
    add_build_options(build)
    plan = command("plan", _plan, "say what a build would compile, and why; compiles nothing")
    explain = command("explain", _explain, "say why variants would be built, or why they last were")
    for each in (plan, explain):
        each.add_argument("--all", action="store_true", help="each variant, also of equal reasons")
    explain.add_argument("name", nargs="?", metavar="KERNEL", help="default: every kernel")
    passes = command("passes", _passes, "print the passes of the modes")
    verify = command("verify", _verify, "build a sample again without the cache; compare bytes")
    verify.add_argument("--all", action="store_true", help="every variant, not just a sample")
    verify.add_argument("--sample", type=positive, metavar="N", help=f"default: {SAMPLE}")
    verify.add_argument("--runtime", action="store_true", help=RUNTIME)
    examined = verify.add_mutually_exclusive_group()
    examined.add_argument(
        "--installed", action="store_true", help="with --runtime: what is installed here"
    )
    examined.add_argument("--wheel", metavar="FILE", help="with --runtime: what a wheel ships")
    for each in (plan, explain, passes, verify):
        each.add_argument("--target", "-t", action="append", metavar="T", help="repeatable")
        each.add_argument("--mode", "-m", metavar="M", help="debug, fast, release or tune")
    for each in (plan, verify):
        add_options(each)
    for each in (build, plan, verify):
        each.add_argument("--kernel", action="append", metavar="NAME", help="repeatable")
    for each in (build, plan):
        each.add_argument("-C", dest="config", action="append", metavar="KEY=VALUE", help=SETTING)
    command("stats", _stats, "what the cache and the last build hold")
    add_gc_options(command("gc", _gc, "remove from the cache what was not used for longest"))
    command("clean", _clean, "remove build/aot; the cache is left alone")
    trace = command("trace", _trace, "print the last build as a trace for ui.perfetto.dev")
    trace.add_argument("-o", "--output", metavar="FILE", help="default: standard output")
    command("doctor", _doctor, "find compilers; say what a missing one costs")
    return parser
