"""Local memory as it is watched, and buffers: without FlyDSL."""

import pytest

pytest.importorskip("torch")

import numpy as np

from tests.kernels.flydsl.machine import Block, Buffer, Fault, Memory, Pointer, narrow, wide

pytestmark = pytest.mark.torch
WAVE = 64


@pytest.fixture
def block():
    return Block(2 * WAVE, WAVE, "gfx942", (0, 0, 0), (1, 1, 1))


def words(block, first=0):
    return Pointer(block.local, (np.arange(block.threads) + first) * 4)


def ones(block):
    return np.ones((block.threads, 4), np.uint8)


def test_a_wave_reads_what_it_wrote_and_others_after_a_barrier(block):
    block.write(words(block), ones(block))
    assert (block.read(words(block), 4) == 1).all()
    with pytest.raises(Fault, match="reads what another wave wrote"):
        block.read(Pointer(block.local, np.arange(block.threads)[::-1] * 4), 4)
    block.barrier()
    assert (block.read(Pointer(block.local, np.arange(block.threads)[::-1] * 4), 4) == 1).all()


def test_nobody_overwrites_what_another_wave_reads(block):
    block.read(words(block), 4)
    block.write(words(block), ones(block))
    block.barrier()
    everyone = Pointer(block.local, np.zeros(block.threads, int))
    block.read(everyone, 4)
    only = np.arange(block.threads) == 0
    with pytest.raises(Fault, match="overwrites what another wave reads"):
        block.write(everyone, ones(block), only)
    block.barrier()
    block.write(everyone, ones(block), only)


def test_a_copy_may_be_read_once_it_was_awaited_and_a_barrier_told_so(block):
    block.issued += 1
    block.write(words(block), ones(block), copied=block.issued)
    for step in (block.barrier, lambda: block.wait(0)):
        step()
        with pytest.raises(Fault, match="may not have landed"):
            block.read(words(block), 4)
    block.barrier()
    block.read(words(block), 4)


def test_memory_ends_where_it_ends(block):
    memory = Memory(np.zeros(16, np.uint8))
    block.read(Pointer(memory, 12), 4)
    for offset in (-1, 13):
        with pytest.raises(Fault, match="outside of every tensor"):
            block.read(Pointer(memory, offset), 4)


def test_a_buffer_gives_nothing_beyond_its_size_and_takes_nothing(block):
    memory = Memory(np.full(64, 7, np.uint8))
    offset = np.full(block.threads, 8)
    offset[0] = 4
    offset[1] = 1 << 30
    place, inside = block.buffer_places(Buffer(Pointer(memory, 4), 8), offset, 4)
    assert inside.tolist() == [True] + [False] * (block.threads - 1)
    found = block.read(place, 4, inside)
    assert found[0].tolist() == [7] * 4 and not found[1:].any()
    block.write(place, np.zeros((block.threads, 4), np.uint8), inside)
    assert memory.bytes.tolist() == [7] * 8 + [0] * 4 + [7] * 52


def test_a_barrier_is_for_all_threads(block):
    block.active = np.arange(block.threads) > 3
    with pytest.raises(Fault, match="not every thread"):
        block.barrier()


def test_short_floats_are_rounded_to_even():
    numbers = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, -3e38, np.inf], np.float32)
    assert wide(narrow(numbers, "bf16"), "bf16").tolist()[:3] == [1, 1, 1 + 2**-6]
    assert narrow(np.array([1e6], np.float32), "f16").tolist() == [np.inf]
    assert wide(np.array([0x40], np.uint8), "f8E4M3FN") == 2
    assert wide(np.array([0x40], np.uint8), "f8E4M3FNUZ") == 1
