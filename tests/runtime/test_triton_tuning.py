"""Autotuners: configurations that a target cannot launch, or that were left out on purpose."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from aot_build.core.manifest import manifest_text
from tests.runtime.packages import Package

pytestmark = [pytest.mark.triton, pytest.mark.slow]


def unlaunchable(number: int, text: str) -> Callable[[dict[str, Any]], None]:
    def change(variant: dict[str, Any]) -> None:
        if variant["row"]["number"] == number:
            variant["metadata"]["unlaunchable"] = text
            # It may have failed before there was anything else to tell.
            del variant["metadata"]["triton"]["metadata"]
            variant["files"] = {}

    return change


@pytest.mark.parametrize("mode", ["", "strict"])
def test_a_tuner_passes_over_what_the_target_cannot_launch(package: Package, mode: str) -> None:
    package.edit(unlaunchable(4, "out of resource: shared memory, 300000 needed, 232448 there"))
    package.edit(unlaunchable(5, "PTXAS error: too much of everything"))
    printed = package.run(
        """
        kern.tuned[(1,)](aligned, 1024)
        print(kern.tuned.best_config.kwargs, nothing_compiled())
        """,
        AOT_RUNTIME=mode,
    )
    assert printed == "{'BLOCK': 64} True"


@pytest.mark.parametrize(
    ("why", "limits"),
    [
        (
            "out of resource: shared memory, 300000 needed, 232448 there",
            "shared memory 300000 232448",
        ),
        (
            "out of resource: threads, 2048 needed (64 warps of 32), 1024 there",
            "threads 2048 1024",
        ),
        (
            "out of resource: tensor memory, Required: 1024, Hardware limit: 512. Reducing block"
            " sizes or `num_stages` may help.",
            "tensor memory 1024 512",
        ),
        ("PTXAS error: too much", "PTXAS error: too much ? ?"),
    ],
)
def test_what_the_target_cannot_launch_raises_as_in_triton(
    package: Package, why: str, limits: str
) -> None:
    package.edit(unlaunchable(0, why))
    printed = package.run("""
        from triton.runtime.errors import OutOfResources
        for _ in range(2):
            try:
                kern.scale[(1,)](aligned, aligned, 1024, BLOCK=64)
            except OutOfResources as error:
                print(error.name, error.required, error.limit)
    """)
    assert printed == f"{limits}\n{limits}"


@pytest.mark.parametrize("kept", [[4], [3, 5]])
def test_a_tuner_keeps_to_the_configurations_that_were_kept(
    package: Package, kept: list[int]
) -> None:
    path = package.aot / "manifest.json"
    package.edit(lambda v: v["metadata"]["triton"].update(kept=True))
    found = json.loads(path.read_text())
    variants = found["kernels"]["tuned"]["variants"]
    variants[:] = [v for v in variants if v["row"]["number"] in kept]
    path.write_text(manifest_text(found))
    printed = package.run(
        """
        for n in (1024, 2048):
            kern.tuned[(1,)](aligned, n)
        print([c.kwargs["BLOCK"] for c in kern.tuned.configs], nothing_compiled())
        """,
        AOT_RUNTIME="strict",
    )
    assert printed == f"{[[64, 128, 256][number - 3] for number in kept]} True"
    # Of another target nothing was kept, so that nothing is left out.
    code = "kern.tuned[(1,)](aligned, 1024); print(len(kern.tuned.configs), len(gpu.compiles))"
    assert package.run(code, ("cuda", 80)) == "3 3"
