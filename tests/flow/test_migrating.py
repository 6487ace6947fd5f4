"""Code in docs/migrating.md is code of projects that are built."""

import re
import textwrap

import pytest

from tests.flow.consumers import PROJECTS, ROOT

PAGE = (ROOT / "docs" / "migrating.md").read_text()
BLOCK = re.compile(r"^ *<!-- (\S+) -->\n( *)```\w+\n(.*?)^\2```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(path, textwrap.dedent(code)) for path, _, code in BLOCK.findall(PAGE)]
LEAST = 60
"""Lines within which a project with a pool has to move."""


@pytest.mark.parametrize(("path", "code"), BLOCKS, ids=[path for path, _ in BLOCKS])
def test_code_is_that_of_the_project(path, code):
    assert code in (ROOT / path).read_text()


def test_every_marked_block_is_looked_at():
    assert len(BLOCKS) == PAGE.count("<!-- tests/projects/") > 0
    named = {path.split("/")[2] for path, _ in BLOCKS}
    built = (ROOT / "tests/flow/test_projects.py").read_text()
    assert named == {"cuda_library", "migrated_pool", "triton_captured", "with_torch_extension"}
    assert all(f'"{name}"' in built and (PROJECTS / name).is_dir() for name in named)


def test_a_project_with_a_pool_moves_in_few_lines():
    lines = [code for path, code in BLOCKS if "migrated_pool" in path]
    assert len(lines) == 2 and sum(code.count("\n") for code in lines) < LEAST
    added = (PROJECTS / "migrated_pool/migrated_pool/aot.py").read_text().count("\n")
    declared = (PROJECTS / "migrated_pool/pyproject.toml").read_text().count("\n")
    assert added + declared < LEAST
