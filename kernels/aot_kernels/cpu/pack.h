// Rows of fp32 out of elements that lie by any two strides.
#pragma once

#include "element.h"

namespace {

// `row` and `col` are strides in elements.
template <class T>
struct Strided {
    const T* at;
    long row, col;

    Strided from(long i, long j) const { return {at + i * row + j * col, row, col}; }
};

// The halves of x and y that begin at lane `First`, lane by lane in turn.
template <int First>
inline Floats interleave(Floats x, Floats y) {
#if defined(__clang__) && defined(__AVX2__)
    return __builtin_shufflevector(x, y, First, First + 8, First + 1, First + 9, First + 2,
                                   First + 10, First + 3, First + 11);
#elif defined(__clang__)
    return __builtin_shufflevector(x, y, First, First + 4, First + 1, First + 5);
#else
    Ints order;
    for (int lane = 0; lane < LANES; ++lane) order[lane] = First + lane / 2 + lane % 2 * LANES;
    return __builtin_shuffle(x, y, order);
#endif
}

// One stage turns the 2 log2(LANES) index bits of a LANES x LANES block by one place: after
// log2(LANES) stages rows and columns have changed places.
inline void transpose(Floats (&rows)[LANES]) {
    constexpr int HALF = LANES / 2;
#pragma GCC unroll 3
    for (int stage = 1; stage < LANES; stage *= 2) {
        Floats next[LANES];
#pragma GCC unroll 4
        for (int i = 0; i < HALF; ++i) {
            next[2 * i] = interleave<0>(rows[i], rows[i + HALF]);
            next[2 * i + 1] = interleave<HALF>(rows[i], rows[i + HALF]);
        }
#pragma GCC unroll 8
        for (int i = 0; i < LANES; ++i) rows[i] = next[i];
    }
}

template <class T>
inline void pack_row(float* to, const T* from, long count) {
    long j = 0;
    for (; j + LANES <= count; j += LANES) store(to + j, load(from + j));
    if (j < count) store_some(to + j, load_some(from + j, count - j), count - j);
}

template <class T>
inline void pack_scattered(float* to, long stride, Strided<T> from, long rows, long cols) {
    for (long i = 0; i < rows; ++i) {
        for (long j = 0; j < cols; ++j) {
            store_some(to + i * stride + j, load_some(from.from(i, j).at, 1), 1);
        }
    }
}

// to[i * stride + j] = from(i, j)
template <class T>
inline void pack(float* to, long stride, Strided<T> from, long rows, long cols) {
    if (from.col == 1) {
        for (long i = 0; i < rows; ++i) pack_row(to + i * stride, from.from(i, 0).at, cols);
        return;
    }
    const bool blocks = from.row == 1;
    const long block_rows = blocks ? rows - rows % LANES : 0;
    const long block_cols = blocks ? cols - cols % LANES : 0;
    for (long j = 0; j < block_cols; j += LANES) {
        for (long i = 0; i < block_rows; i += LANES) {
            Floats lines[LANES];
            for (int lane = 0; lane < LANES; ++lane) lines[lane] = load(from.from(i, j + lane).at);
            transpose(lines);
            float* corner = to + i * stride + j;
            for (int lane = 0; lane < LANES; ++lane) store(corner + lane * stride, lines[lane]);
        }
    }
    const long rest = cols - block_cols;
    pack_scattered(to + block_cols, stride, from.from(0, block_cols), block_rows, rest);
    to += block_rows * stride;
    pack_scattered(to, stride, from.from(block_rows, 0), rows - block_rows, cols);
}

}  // namespace
