// How C is cut into tiles, and the product of a packed block of A and packed panels of B, in
// registers, that they are made of.
//
// BM, BN and BK, the tile, are given by a row: see gemm.cpp.
#pragma once

#include "pack.h"

namespace {

constexpr int WIDE = 2 * LANES;           // columns of the register kernel
constexpr int TALL = LANES == 8 ? 6 : 4;  // its rows: 12 or 8 accumulators of 16 registers
constexpr long LINE = 16;                 // floats in a cache line
constexpr long AHEAD = 4;                 // rows of B: no hardware prefetches across its pages
// A spare line keeps the panels of B, which are filled side by side, out of the same cache sets.
constexpr long PANEL = BK * WIDE + LINE;

static_assert(BN % WIDE == 0 && BM > 0 && BK > 0, "BN has to be a multiple of the register kernel");

inline long least(long x, long y) { return x < y ? x : y; }
inline long ceil_div(long x, long y) { return (x + y - 1) / y; }

template <int R>
inline void multiply(const float* a, const float* b, float* c, long depth, bool first) {
    Floats acc[R][2] = {};
    for (long k = 0; k < depth; ++k, b += WIDE) {
        const Floats left = load(b), right = load(b + LANES);
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) {
            acc[r][0] += a[r * BK + k] * left;
            acc[r][1] += a[r * BK + k] * right;
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r, c += BN) {
        store(c, first ? acc[r][0] : load(c) + acc[r][0]);
        store(c + LANES, first ? acc[r][1] : load(c + LANES) + acc[r][1]);
    }
}

template <int R = TALL>
inline void multiply_rows(long rows, const float* a, const float* b, float* c, long depth,
                          bool first) {
    if constexpr (R > 1) {
        if (rows < R) return multiply_rows<R - 1>(rows, a, b, c, depth, first);
    }
    multiply<R>(a, b, c, depth, first);
}

// Panels of WIDE columns, zero where B has none.
template <class T>
void pack_b(float* to, Strided<T> b, long depth, long cols) {
    const long full = cols - cols % WIDE;
    if (full < cols) std::memset(to + full / WIDE * PANEL, 0, sizeof(float) * BK * WIDE);
    if (b.col == 1) {  // along the rows of B, which lie far apart
        for (long k = 0; k < depth; ++k) {
            for (long j = 0; j < cols; j += WIDE) {
                __builtin_prefetch(b.from(k + AHEAD, j).at);
                pack_row(to + j / WIDE * PANEL + k * WIDE, b.from(k, j).at, least(WIDE, cols - j));
            }
        }
        return;
    }
    for (long j = 0; j < cols; j += WIDE) {
        pack(to + j / WIDE * PANEL, WIDE, b.from(0, j), depth, least(WIDE, cols - j));
    }
}

// A part of C, at most BM x BN.
struct Tile {
    long m, n, rows, cols;
};

// Calls `task` for equal tiles of C (m, n), at least two a thread where the product has as many
// columns. A tile has a multiple of `unit` columns, unless it is the last one.
template <class Task>
void each_tile(long m, long n, long unit, long threads, Task task) {
    threads = threads < 1 ? 1 : threads;
    const long down = ceil_div(m, BM);
    const long wanted = least(ceil_div(2 * threads, down), ceil_div(n, unit));
    const long across = threads > 1 && wanted > ceil_div(n, BN) ? wanted : ceil_div(n, BN);
    const long rows = least(BM, ceil_div(ceil_div(m, down), TALL) * TALL);
    const long cols = ceil_div(ceil_div(n, across), unit) * unit;
    const long tiles_m = ceil_div(m, rows), tiles = tiles_m * ceil_div(n, cols);
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1 && tiles > 1)
#endif
    for (long i = 0; i < tiles; ++i) {
        const long row = i % tiles_m * rows, col = i / tiles_m * cols;
        task(Tile{row, col, least(rows, m - row), least(cols, n - col)});
    }
}

}  // namespace
