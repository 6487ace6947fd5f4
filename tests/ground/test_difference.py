"""Where two files differ, against a look at every byte; what the bytes say of the cause."""

import itertools
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aot_build import causes
from aot_build.difference import CHUNK, GAP, Section, difference, lacking, sections

SMALL = st.binary(max_size=80)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A file, and one with some bytes replaced and another end; some across borders of chunks."""
    kept = draw(st.integers(0, 3)) * bytes(CHUNK // 2) + draw(SMALL)
    now = bytearray(kept)
    for place in draw(st.lists(st.integers(0, len(kept) - 1), max_size=9)) if kept else ():
        now[place] ^= draw(st.integers(0, 255))
    return kept, bytes(now) + draw(st.binary(max_size=9))


@given(pairs())
@example((b"", b"x"))
@example((bytes(CHUNK) + b"ab", bytes(CHUNK - 1) + b"xyb"))
def test_every_byte_is_counted(pair: tuple[bytes, bytes]) -> None:
    kept, now = pair
    size = max(len(kept), len(now))
    places = [n for n in range(size) if kept[n : n + 1] != now[n : n + 1]]
    found = difference("a", kept, now)
    assert (found.kept_size, found.now_size) == (len(kept), len(now))
    assert found.differing == len(places)
    assert found.offset == (places[0] if places else size)
    apart = sum(b - a > GAP + 1 for a, b in itertools.pairwise(places))
    assert found.places == (apart + 1 if places else 0)


def test_excerpts_are_text_where_both_are() -> None:
    found = difference("a", b"one two " * 20 + b"three", b"one two " * 20 + b"seven")
    assert found.kept == "...'one two one two one two three'"
    found = difference("a", bytes(20) + b"\1\2\3", bytes(20) + b"\1\xff\3")
    assert found.kept.startswith("0x0: 00 ") and found.kept.endswith("01 02 03")
    assert found.now.endswith("01 ff 03")


def test_a_file_that_one_has_alone() -> None:
    assert (lacking("a", None, b"xy").kept_size, lacking("a", None, b"xy").now_size) == (-1, 2)
    assert "kept" in lacking("a", b"", None).hint


@pytest.mark.parametrize(
    "image",
    [b"", b"x", b"\x7fELF\x02\x01", b"\x7fELF\x02\x01" + b"\xff" * 90],
    ids=["empty", "text", "short", "wild"],
)
def test_what_is_no_elf_file_has_no_sections(image: bytes) -> None:
    assert sections(image) == []
    assert difference("a", image, image + b"!").sections == ()


@pytest.mark.compiler
def test_sections_of_a_library(tmp_path: Path) -> None:
    def compiled(name: str, text: str, *flags: str) -> bytes:
        (tmp_path / "a.cpp").write_text(text)
        library = tmp_path / name
        words = ["g++", "-shared", "-fPIC", *flags, "-o", str(library), str(tmp_path / "a.cpp")]
        subprocess.run(words, check=True, timeout=60)
        return library.read_bytes()

    text = 'extern "C" const char* f() { return "%s"; } extern "C" int g() { return %d; }'
    one = compiled("one.so", text % ("abc", 1), "-Wl,--build-id=none")
    two = compiled("two.so", text % ("abd", 1), "-Wl,--build-id=none")
    three = compiled("three.so", text % ("abc", 2), "-Wl,--build-id=none")
    assert Section(".text", 0, 0).name in {section.name for section in sections(one)}
    assert difference("a", one, two).sections == (".rodata",)
    assert difference("a", one, three).sections == (".text",)
    assert (
        ".note.gnu.build-id" in difference("a", one, compiled("b.so", text % ("abc", 1))).sections
    )
    headers = bytearray(one)
    headers[0x30] ^= 1  # e_flags
    assert difference("a", one, bytes(headers)).sections == ("headers",)


@pytest.mark.nvcc
@pytest.mark.slow
def test_sections_of_a_cubin_name_the_kernel(tmp_path: Path) -> None:
    images = []
    for step in (1, 2):
        (tmp_path / "a.cu").write_text(
            f'extern "C" __global__ void one(int* x) {{ *x = {step}; }}\n'
            'extern "C" __global__ void two(int* x) { *x = 7; }\n'
        )
        words = ["nvcc", "-cubin", "-arch=sm_90", "-o", "a.cubin", "a.cu"]
        subprocess.run(words, cwd=tmp_path, check=True, timeout=120)
        images.append((tmp_path / "a.cubin").read_bytes())
    found = difference("a.cubin", *images).sections
    assert ".text.one" in found and ".text.two" not in found


NOW = int(time.time())
UUID = "0c1f6a52-93a4-4a53-8a3e-0d6f3f3d1b12"


@pytest.mark.parametrize(
    ("kept", "now", "cause"),
    [
        (f"at {NOW - 5}.", f"at {NOW}.", causes.TIME),
        (f"at {NOW * 10**9 - 5}", f"at {NOW * 10**9}", causes.TIME),
        ("built 2026-01-02T03:04:05Z", "built 2026-01-02T03:05:11Z", causes.TIME),
        ("v1 Jan  2 2026", "v1 Jan  3 2026", causes.MACRO),
        ("v1 03:04:05", "v1 03:04:06", causes.MACRO),
        ("<f at 0x7f1200a0b0>", "<f at 0x7f1200a1b0>", causes.ADDRESS),
        ("8b3f6a52-93a4-4a53-8a3e-0d6f3f3d1b11", UUID, causes.UUID),
        ("/p/build/aot/work-1-ab12/3.out", "/p/build/aot/work-2-cd34/3.out", causes.SCRATCH),
        ("in /a/checkout/x.h", "in /the/project/x.h", causes.CHECKOUT),
        ("alpha,beta,gamma,delta", "beta,alpha,delta,gamma", causes.ORDER),
        ("alpha 12", "alpha 13", ""),
        ("0x12345678 is one", "0x12345678 is two", ""),
        (f"{NOW}: one thing", f"{NOW}: two thing", ""),
    ],
)  # fmt: skip
def test_causes_that_the_bytes_show(kept: str, now: str, cause: str) -> None:
    assert difference("a", kept.encode(), now.encode(), "/the/project").hint == cause


def test_times_as_numbers() -> None:
    one, two = ((NOW - ago).to_bytes(8, "little") for ago in (500, 0))
    assert difference("a", b"\1\2\3" + one, b"\1\2\3" + two).hint == causes.TIME
    one, two = (n.to_bytes(8, "little") for n in (123_456, 123_999))
    assert difference("a", bytes(8) + one, bytes(8) + two).hint == ""
