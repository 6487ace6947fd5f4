// C[M, N] = A[M, K] @ B[K, N] (+ bias[N]), accumulated in fp32, rounded once to the element type.
//
// A row of gemm.csv gives DTYPE, BIAS, and the tile: BM x BN of C, BK deep. Every tile is a task of
// its own: it packs its blocks of A and B to fp32, whatever their strides, and runs a register
// kernel over them; nothing is shared between threads, and the order of summation depends on K and
// BK alone, so that results do not depend on the number of threads.
// The blocking is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix
// Multiplication", ACM TOMS 34 (2008), without its shared panels.

#include "panel.h"

namespace {

using Element = DTYPE;

struct Problem {
    Strided<Element> a, b;
    const Element* bias;
    Element* c;
    long k, c_row;
};

// As large as a tile needs, kept for the life of the thread: a fresh mapping for every call costs
// more in page faults than a small product.
struct Scratch {
    alignas(64) float a[BM * BK];
    alignas(64) float b[BN / WIDE * PANEL];
    alignas(64) float c[BM * BN];
};
thread_local Scratch scratch;

void accumulate(const Problem& p, const Tile& t, Scratch& s) {
    for (long k = 0; k < p.k; k += BK) {
        const long depth = least(BK, p.k - k);
        pack(s.a, BK, p.a.from(t.m, k), t.rows, depth);
        pack_b(s.b, p.b.from(k, t.n), depth, t.cols);
        for (long j = 0; j < t.cols; j += WIDE) {
            for (long i = 0; i < t.rows; i += TALL) {
                multiply_rows(least(TALL, t.rows - i), s.a + i * BK, s.b + j / WIDE * PANEL,
                              s.c + i * BN + j, depth, k == 0);
            }
        }
    }
    if (p.k == 0) std::memset(s.c, 0, sizeof s.c);
}

void finish(const Problem& p, const Tile& t, const float* sums) {
    for (long i = 0; i < t.rows; ++i, sums += BN) {
        Element* out = p.c + (t.m + i) * p.c_row + t.n;
        for (long j = 0; j < t.cols; j += LANES) {
            const long count = least(LANES, t.cols - j);
            Floats v = load(sums + j);
#if BIAS
            v += load_some(p.bias + t.n + j, count);
#endif
            if (count == LANES) {
                store(out + j, v);
            } else {
                store_some(out + j, v, count);
            }
        }
    }
}

}  // namespace

// Strides are in elements. `bias` is contiguous, and not read where BIAS is 0; the rows of C are
// contiguous. M and N are positive; K may be 0.
extern "C" __attribute__((visibility("default"))) void aot_gemm(
    const void* a, const void* b, const void* bias, void* c, int64_t m, int64_t n, int64_t k,
    int64_t a_row, int64_t a_col, int64_t b_row, int64_t b_col, int64_t c_row, int64_t threads) {
    const Problem p = {{static_cast<const Element*>(a), a_row, a_col},
                       {static_cast<const Element*>(b), b_row, b_col},
                       static_cast<const Element*>(bias),
                       static_cast<Element*>(c),
                       k,
                       c_row};
    each_tile(m, n, WIDE, threads, [&](const Tile& t) {
        accumulate(p, t, scratch);
        finish(p, t, scratch.c);
    });
}
