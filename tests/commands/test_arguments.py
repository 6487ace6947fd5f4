"""Repeated options, which distutils would drop."""

import pytest

from aot_build.commands.arguments import merge_targets


@pytest.mark.parametrize(
    ("given", "merged"),
    [
        ([], []),
        (["build"], ["build"]),
        (["build_ext", "--aot-target", "cpu"], ["build_ext", "--aot-target=cpu"]),
        (
            ["build_ext", "--aot-target", "cpu", "-f", "--aot-target=cuda:sm_90a", "build"],
            ["build_ext", "--aot-target=cpu,cuda:sm_90a", "-f", "build"],
        ),
        (["build_ext", "--aot-t", "a", "--aot-targ=b"], ["build_ext", "--aot-target=a,b"]),
        (["build_ext", "--aot-timeout=3", "--aot"], ["build_ext", "--aot-timeout=3", "--aot"]),
        (["build_ext", "--aot-target"], ["build_ext", "--aot-target"]),
    ],
)
def test_repeated_targets_become_one_list(given, merged):
    assert merge_targets(given) == merged
