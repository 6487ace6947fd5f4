"""Modes that a zip archive records."""

import pytest

from aot_build.wheels.modes import settle_modes


@pytest.mark.parametrize(
    ("before", "after"),
    [(0o600, 0o644), (0o664, 0o644), (0o700, 0o755), (0o744, 0o755), (0o444, 0o644)],
)
def test_modes_depend_on_the_executable_bit_alone(tmp_path, before, after):
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "file"
    file.write_text("")
    file.chmod(before)
    settle_modes(tmp_path)
    assert file.stat().st_mode & 0o7777 == after


def test_targets_of_links_are_left_alone(tmp_path):
    (tmp_path / "tree").mkdir()
    outside = tmp_path / "outside"
    outside.write_text("")
    outside.chmod(0o600)
    (tmp_path / "tree" / "link").symlink_to(outside)
    settle_modes(tmp_path / "tree")
    assert outside.stat().st_mode & 0o777 == 0o600
