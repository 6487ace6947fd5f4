// C[M, N] = (A[M, K] * scale_a[M]) @ (B[N, K] * scale_b[N])^T (+ bias[N]), A and B of bytes.
//
// A row of gemm_a8w8.csv gives DTYPE of A and B, OUT of C and the bias, and the tile: BM x BN of C,
// BK deep. B is shuffled: blocks of 16 rows by 16 bytes, each contiguous, those of 16 rows one
// after the other along K (see aot_kernels/shuffled.py).
//
// Built as gemm.cpp is: a tile is a task, its blocks are unpacked to fp32, and the order of
// summation depends on K and BK alone. Integers are summed exactly: a product of two is at most
// 2^14, so that fp32 holds each sum over a block, and int32 the sum of the blocks up to K = 2^17.

#include <type_traits>

#include "byte.h"
#include "panel.h"

namespace {

using Element = OUT;
using Sum = std::conditional_t<std::is_same_v<DTYPE, int8>, int32_t, float>;

constexpr long BLOCK = 16;  // rows, and bytes of each, of a block of B
constexpr Table<DTYPE> TABLE;

static_assert(BN % BLOCK == 0 && BLOCK % WIDE == 0 && BK % BLOCK == 0, "blocks fit a tile");
static_assert(BK <= 1024, "fp32 holds integers up to 2^24");

struct Problem {
    const uint8_t *a, *b;
    const float *scale_a, *scale_b;
    const Element* bias;  // null where there is none
    Element* c;
    long n, k, a_row;
};

struct Scratch {
    alignas(64) float a[BM * BK];
    alignas(64) float b[BN / WIDE * PANEL];
    alignas(64) float c[BM * BN];
    alignas(64) Sum sums[BM * BN];
};
thread_local Scratch scratch;

void unpack_a(float* to, const uint8_t* from, long stride, long rows, long depth) {
    for (long i = 0; i < rows; ++i, to += BK, from += stride) {
        for (long k = 0; k < depth; ++k) to[k] = TABLE[from[k]];
    }
}

// Panels of WIDE columns; `depth` and `cols` are multiples of BLOCK, of whose rows each becomes a
// column.
void unpack_b(float* to, const uint8_t* from, long k, long depth, long cols) {
    for (long j = 0; j < cols; j += BLOCK, from += BLOCK * k) {
        const uint8_t* byte = from;
        for (long at = 0; at < depth; at += BLOCK) {
            for (long col = j; col < j + BLOCK; ++col) {
                float* out = to + col / WIDE * PANEL + at * WIDE + col % WIDE;
                for (long i = 0; i < BLOCK; ++i) out[i * WIDE] = TABLE[*byte++];
            }
        }
    }
}

void accumulate(const Problem& p, const Tile& t, Scratch& s) {
    for (long i = 0; i < t.rows * BN; ++i) s.sums[i] = 0;
    for (long k = 0; k < p.k; k += BK) {
        const long depth = least(BK, p.k - k);
        unpack_a(s.a, p.a + t.m * p.a_row + k, p.a_row, t.rows, depth);
        unpack_b(s.b, p.b + t.n * p.k + k * BLOCK, p.k, depth, t.cols);
        for (long j = 0; j < t.cols; j += WIDE) {
            for (long i = 0; i < t.rows; i += TALL) {
                multiply_rows(least(TALL, t.rows - i), s.a + i * BK, s.b + j / WIDE * PANEL,
                              s.c + i * BN + j, depth, true);
            }
        }
        for (long i = 0; i < t.rows; ++i) {
            for (long j = 0; j < t.cols; ++j) {
                s.sums[i * BN + j] += static_cast<Sum>(s.c[i * BN + j]);
            }
        }
    }
}

void finish(const Problem& p, const Tile& t, const Sum* sums) {
    for (long i = 0; i < t.rows; ++i, sums += BN) {
        Element* out = p.c + (t.m + i) * p.n + t.n;
        const float scale = p.scale_a[t.m + i];
        for (long j = 0; j < t.cols; j += LANES) {
            Floats v;
            for (long lane = 0; lane < LANES; ++lane) v[lane] = static_cast<float>(sums[j + lane]);
            v *= load(p.scale_b + t.n + j) * scale;
            if (p.bias) v += load(p.bias + t.n + j);
            store(out + j, v);
        }
    }
}

}  // namespace

// The stride of A's rows is in elements; all else is contiguous. `bias` may be null. M and N are
// positive, 16 divides N, 32 divides K, which may be 0.
extern "C" __attribute__((visibility("default"))) void aot_gemm_a8w8(
    const void* a, const void* b, const float* scale_a, const float* scale_b, const void* bias,
    void* c, int64_t m, int64_t n, int64_t k, int64_t a_row, int64_t threads) {
    const Problem p = {static_cast<const uint8_t*>(a),
                       static_cast<const uint8_t*>(b),
                       scale_a,
                       scale_b,
                       static_cast<const Element*>(bias),
                       static_cast<Element*>(c),
                       n,
                       k,
                       a_row};
    each_tile(m, n, BLOCK, threads, [&](const Tile& t) {
        accumulate(p, t, scratch);
        finish(p, t, scratch.sums);
    });
}
