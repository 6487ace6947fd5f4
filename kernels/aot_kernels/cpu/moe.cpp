// C[row, N] = A[row, K] @ B[expert of the row, N, K]^T, accumulated in fp32: either stage of a
// mixture of experts, and grouped products.
//
// A row of moe_up.csv or moe_down.csv gives DTYPE, GATED, and the tile: BM x BN of C, BK deep. With
// GATED, B is (experts, 2 N, K), the gate's half first, and the halves are joined as
// aot_kernels/gated.py says. Rows come in blocks of BM of one expert, as aot_kernels/routing.py
// sorts them: a block and BN columns are a task, which packs what it reads to fp32 and shares
// nothing, so that results do not depend on the number of threads.

#include "panel.h"

namespace {

using Element = DTYPE;

struct Problem {
    Strided<Element> a, b;  // b: (K, N) of expert 0
    const float* weight;
    void* c;
    const int32_t *ids, *experts;
    long slots, share, n, k, b_expert, c_row;
    float alpha, limit, shift;
};

struct ExpertTile {
    long expert, n, rows, cols;
    const int32_t* ids;
};

struct Scratch {
    alignas(64) float a[BM * BK];
    alignas(64) float b[BN / WIDE * PANEL];
    alignas(64) float c[GATED + 1][BM * BN];
};
thread_local Scratch scratch;

void accumulate(const Problem& p, const ExpertTile& t, Scratch& s) {
    for (long k = 0; k < p.k; k += BK) {
        const long depth = least(BK, p.k - k);
        for (long i = 0; i < t.rows; ++i) {
            pack(s.a + i * BK, BK, p.a.from(t.ids[i] / p.share, k), 1, depth);
        }
        for (int half = 0; half <= GATED; ++half) {
            Strided<Element> b = p.b.from(k, half * p.n + t.n);
            b.at += t.expert * p.b_expert;
            pack_b(s.b, b, depth, t.cols);
            for (long j = 0; j < t.cols; j += WIDE) {
                for (long i = 0; i < t.rows; i += TALL) {
                    multiply_rows(least(TALL, t.rows - i), s.a + i * BK, s.b + j / WIDE * PANEL,
                                  s.c[half] + i * BN + j, depth, k == 0);
                }
            }
        }
    }
    if (p.k == 0) std::memset(s.c, 0, sizeof s.c);
}

template <class T>
void put(T* out, const float* from, long cols, float scale) {
    for (long j = 0; j < cols; j += LANES) {
        const long count = least(LANES, cols - j);
        const Floats v = load(from + j) * scale;
        if (count == LANES) {
            store(out + j, v);
        } else {
            store_some(out + j, v, count);
        }
    }
}

#if GATED
void join(const Problem& p, float* gate, const float* up, long cols) {
    for (long j = 0; j < cols; ++j) {
        // Comparisons let NaNs pass.
        const float g = gate[j] > p.limit ? p.limit : gate[j];
        const float u = up[j] > p.limit ? p.limit : up[j] < -p.limit ? -p.limit : up[j];
        gate[j] = g / (1.0f + __builtin_expf(-p.alpha * g)) * (u + p.shift);
    }
}
#endif

void finish(const Problem& p, const ExpertTile& t, Scratch& s) {
    for (long i = 0; i < t.rows; ++i) {
        const long id = t.ids[i], at = id * p.c_row + t.n;
        float* sums = s.c[0] + i * BN;
#if GATED
        join(p, sums, s.c[1] + i * BN, t.cols);
#endif
        if (p.weight) {
            put(static_cast<float*>(p.c) + at, sums, t.cols, p.weight[id]);
        } else {
            put(static_cast<Element*>(p.c) + at, sums, t.cols, 1.0f);
        }
    }
}

void run(const Problem& p, long blocks, long threads) {
    const long tiles = blocks * ceil_div(p.n, BN);
    (void)threads;
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1 && tiles > 1)
#endif
    for (long i = 0; i < tiles; ++i) {
        const long block = i % blocks, n = i / blocks * BN;
        ExpertTile t = {p.experts[block], n, 0, least(BN, p.n - n), p.ids + block * BM};
        while (t.rows < BM && t.ids[t.rows] < p.slots) ++t.rows;
        accumulate(p, t, scratch);
        finish(p, t, scratch);
    }
}

}  // namespace

// Row `id / share` of A makes row `id` of C, for all `ids` below `slots`, which come first in their
// block. C is fp32, and its rows are weighed, where `weight` is given, and Element where not. Strides
// are in elements; the rows of C are contiguous. N is positive; K may be 0.
extern "C" __attribute__((visibility("default"))) void aot_expert_gemm(
    const void* a, const void* b, const void* weight, void* c, const void* ids,
    const void* experts, int64_t blocks, int64_t slots, int64_t share, int64_t n, int64_t k,
    int64_t a_row, int64_t a_col, int64_t b_expert, int64_t b_row, int64_t b_col, int64_t c_row,
    float alpha, float limit, float shift, int64_t threads) {
    const Problem p = {{static_cast<const Element*>(a), a_row, a_col},
                       {static_cast<const Element*>(b), b_col, b_row},
                       static_cast<const float*>(weight),
                       c,
                       static_cast<const int32_t*>(ids),
                       static_cast<const int32_t*>(experts),
                       slots,
                       share,
                       n,
                       k,
                       b_expert,
                       c_row,
                       alpha,
                       limit,
                       shift};
    run(p, blocks, threads < 1 ? 1 : threads);
}

// C[token, N] = the sum of the token's `topk` parts in fp32, in their order, rounded once. A part
// whose expert is none of `experts` is not read. All are contiguous.
extern "C" __attribute__((visibility("default"))) void aot_moe_sum(
    const float* parts, const int32_t* chosen, void* c, int64_t tokens, int64_t topk, int64_t n,
    int64_t experts, int64_t threads) {
    Element* out = static_cast<Element*>(c);
    (void)threads;
#ifdef _OPENMP
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && tokens > 1)
#endif
    for (int64_t token = 0; token < tokens; ++token) {
        for (int64_t j = 0; j < n; j += LANES) {
            const int64_t count = least(LANES, n - j);
            Floats sums = {};
            for (int64_t k = token * topk; k < (token + 1) * topk; ++k) {
                if (chosen[k] < 0 || chosen[k] >= experts) continue;
                sums += load_some(parts + k * n + j, count);
            }
            store_some(out + token * n + j, sums, count);
        }
    }
}
