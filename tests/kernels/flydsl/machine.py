"""A block of a GPU in numpy: threads in lockstep, local memory, matrix instructions.

`interpret.py` says what the kernel does to it. A value has one array element for each thread
along its first axis, or one for all; a vector has a second axis. Types without a numpy
counterpart (bf16, fp8) are kept as their bits.

Lockstep hides missing barriers and waits, so local memory is watched: a wave may neither read nor
overwrite what another one wrote since the last barrier, nor overwrite what another one read, and
what is copied from global to local memory without registers may only be read once `s_waitcnt`
and then a barrier have seen it land.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

STORED = {
    "i1": np.bool_, "i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64,
    "index": np.int64, "f16": np.float16, "f32": np.float32, "f64": np.float64, "bf16": np.uint16,
    "f8E4M3FN": np.uint8, "f8E4M3FNUZ": np.uint8,
}  # fmt: skip
FP8 = {
    name: torch.arange(256, dtype=torch.uint8).view(kind).float().numpy()
    for name, kind in (("f8E4M3FN", torch.float8_e4m3fn), ("f8E4M3FNUZ", torch.float8_e4m3fnuz))
}


def wide(bits, kind):
    """Numbers of a type, as fp32 or as they are."""
    if kind == "bf16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    if kind in FP8:
        return FP8[kind][bits]
    return bits.astype(np.float32) if kind == "f16" else bits


def narrow(numbers, kind):
    """fp32 rounded to the nearest of a type, to even where two are as near."""
    if kind == "bf16":
        return torch.from_numpy(np.array(numbers)).bfloat16().view(torch.uint16).numpy()
    with np.errstate(over="ignore"):
        return numbers.astype(STORED[kind])


class Fault(Exception):
    """What a kernel must not do."""


@dataclass(frozen=True, eq=False)
class Memory:
    """Bytes that a pointer reaches; `local` ones are shared by a block."""

    bytes: np.ndarray
    local: bool = False


@dataclass(frozen=True)
class Pointer:
    memory: Memory
    offset: Any
    """In bytes; one, or one for each thread."""

    def moved(self, by):
        return Pointer(self.memory, self.offset + by)


@dataclass(frozen=True)
class Buffer:
    """A buffer resource: reads beyond its `size` in bytes give 0, writes there do nothing."""

    start: Pointer
    size: int


@dataclass
class Block:
    """One block of threads and its place in the grid."""

    threads: int
    wave: int
    arch: str
    place: tuple[int, int, int]
    grid: tuple[int, int, int]
    local: Memory = field(default_factory=lambda: Memory(np.zeros(160 << 10, np.uint8), True))

    def __post_init__(self):
        self.waves = np.arange(self.threads) // self.wave
        self.active = np.ones(self.threads, bool)
        words = len(self.local.bytes) // 4
        self.epoch, self.issued, self.landed, self.seen = 1, 0, 0, 0
        self.writer, self.written = np.full(words, -1), np.zeros(words, int)
        self.reader, self.read_at = np.full(words, -1), np.zeros(words, int)
        self.copied = np.zeros(words, int)

    def barrier(self):
        if not self.active.all():
            raise Fault("a barrier that not every thread reaches")
        self.epoch += 1
        self.seen = self.landed

    def wait(self, outstanding):
        self.landed = max(self.landed, self.issued - outstanding)

    def _places(self, pointer, size, inside):
        offset = np.broadcast_to(pointer.offset, self.threads)[inside]
        if len(offset) and (offset.min() < 0 or offset.max() + size > len(pointer.memory.bytes)):
            raise Fault(f"{size} bytes at {offset.min()}..{offset.max()}, outside of every tensor")
        return offset

    def read(self, pointer, size, inside=None):
        """(threads, size) bytes; zeros for threads that are not `inside`."""
        inside = self.active if inside is None else inside
        offset = self._places(pointer, size, inside)
        if pointer.memory.local:
            self._reading(offset, size, self.waves[inside])
        found = np.zeros((self.threads, size), np.uint8)
        found[inside] = pointer.memory.bytes[offset[:, None] + np.arange(size)]
        return found

    def write(self, pointer, values, inside=None, copied=0):
        inside = self.active if inside is None else inside
        size = values.shape[1]
        offset = self._places(pointer, size, inside)
        if pointer.memory.local:
            self._writing(offset, size, self.waves[inside], copied)
        values = np.broadcast_to(values, (self.threads, size))
        pointer.memory.bytes[offset[:, None] + np.arange(size)] = values[inside]

    def _reading(self, offset, size, waves):
        words = offset[:, None] // 4 + np.arange(max(size // 4, 1))
        waves = np.broadcast_to(waves[:, None], words.shape)
        if ((self.written[words] == self.epoch) & (self.writer[words] != waves)).any():
            raise Fault("reads what another wave wrote, without a barrier")
        if (self.copied[words] > self.seen).any():
            raise Fault("reads what may not have landed, without a wait and a barrier")
        again = (self.read_at[words] == self.epoch) & (self.reader[words] != waves)
        # -2: more than one wave.
        self.reader[words] = np.where(again, -2, waves)
        several = np.unique(np.stack([words.ravel(), waves.ravel()]), axis=1)[0]
        self.reader[several[:-1][several[1:] == several[:-1]]] = -2
        self.read_at[words] = self.epoch

    def _writing(self, offset, size, waves, copied):
        words = offset[:, None] // 4 + np.arange(max(size // 4, 1))
        waves = np.broadcast_to(waves[:, None], words.shape)
        if ((self.read_at[words] == self.epoch) & (self.reader[words] != waves)).any():
            raise Fault("overwrites what another wave reads, without a barrier")
        if ((self.written[words] == self.epoch) & (self.writer[words] != waves)).any():
            raise Fault("overwrites what another wave wrote, without a barrier")
        if not copied and (self.copied[words] > self.seen).any():
            raise Fault("overwrites where a copy may still land, without a wait and a barrier")
        self.writer[words], self.written[words] = waves, self.epoch
        self.copied[words] = copied

    def buffer_places(self, buffer, offset, size):
        """Where a buffer access goes, and which threads' lie inside of it."""
        offset = np.broadcast_to(np.asarray(offset, np.uint32).astype(np.int64), self.threads)
        return buffer.start.moved(offset), self.active & (offset + size <= buffer.size)

    def multiply(self, m, n, a, b, c):
        """D = A B + C of every wave, all of them fp32: lane l holds of A row l % m, of B column
        l % n, and the k's are cut into as many runs as there are lanes for a row.

        (AMD CDNA3 ISA 7.1, CDNA4 ISA 7.1; for wave32 the RDNA4 ISA 7.12. The k's that a lane
        holds differ between instructions, but are the same for A and B: the sum is not.)
        """
        waves, deep = self.threads // self.wave, a.shape[-1]
        a, b, c = (np.broadcast_to(v, (self.threads, v.shape[-1])) for v in (a, b, c))
        a = a.reshape(waves, -1, m, deep).transpose(0, 2, 1, 3).reshape(waves, m, -1)
        b = b.reshape(waves, -1, n, deep).transpose(0, 2, 1, 3).reshape(waves, n, -1)
        product = (a.astype(np.float64) @ b.astype(np.float64).transpose(0, 2, 1)).reshape(-1)
        lane, item = np.arange(self.wave)[:, None], np.arange(c.shape[1])
        run = 4 if self.wave == 64 else 8
        row = item // run * (self.wave // n * run) + lane // n * run + item % run
        place = (np.arange(waves)[:, None, None] * m + row) * n + lane % n
        return (product[place.reshape(self.threads, -1)] + c).astype(np.float32)


MATRIX = re.compile(
    r"rocdl\.w?mf?ma\.(scale\.)?f32\.(\d+)x(\d+)x(\d+)\.?"
    r"(f32|f16|bf16|xf32|fp8\.fp8|fp8_fp8|f8f6f4)(\.1k)?$"
)


def matrix(block_of, name):
    """What multiplies, for the name of a matrix instruction; None for another name."""
    found = MATRIX.match(name)
    if not found:
        return None
    m, n, kind = int(found[2]), int(found[3]), found[5]

    def fragment(values, arch):
        if kind in ("f32", "f16", "bf16"):
            return wide(values.view(STORED[kind]), kind)
        bits = values.reshape(len(values), -1).view(np.uint8)
        return wide(bits, "f8E4M3FNUZ" if arch == "gfx942" else "f8E4M3FN")

    def multiply(a, b, c, *scales):
        if any(np.any(scale) for scale in scales):
            raise Fault(f"{name}: scales other than none are not known here")
        block = block_of()
        a, b = (fragment(v if v.ndim > 1 else v[:, None], block.arch) for v in (a, b))
        return block.multiply(m, n, a, b, c)

    return multiply
