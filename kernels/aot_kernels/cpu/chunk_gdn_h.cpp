// The states of a gated delta net before each chunk of its tokens, and its new values:
//
//     v_new = u - w @ S,  then  S = exp(g_last) S + k^T @ (exp(g_last - g) v_new)
//
// for each chunk, S of K x V in fp32. A row of chunk_gdn_h.csv gives DTYPE of k, w, u and v_new,
// SNAPSHOT of the states before each chunk, STATE of the initial and final ones; shapes come at run
// time. The columns of S do not meet: a block of them, of one head of one sequence, is a task, and
// sums go in the order of K and of tokens, so that nothing depends on the number of threads.

#include <cmath>
#include <vector>

#include "pack.h"

namespace {

using Element = DTYPE;

constexpr long COLS = 4 * LANES;  // of S in a task: a row of them stays in registers

struct Problem {
    const Element *k, *w, *u;
    const float* g;
    SNAPSHOT* h;
    Element* v_new;
    const STATE* h0;  // null where S begins at 0
    STATE* ht;        // null where nobody asks
    const int64_t *starts, *chunks;  // of each sequence: its first token and chunk, and the end
    long heads, key_heads, keys, values, chunk;
};

// One task's rows of COLS floats: the state, and what a chunk adds to it; rows of w or k.
struct Scratch {
    std::vector<float> state, left, keys;
};
thread_local Scratch scratch;

struct Row {
    Floats part[4];
};

inline Row load_row(const float* from) {
    Row row;
    for (int i = 0; i < 4; ++i) row.part[i] = load(from + i * LANES);
    return row;
}

inline void store_row(float* to, const Row& row) {
    for (int i = 0; i < 4; ++i) store(to + i * LANES, row.part[i]);
}

// Up to COLS elements; what is missing is 0.
template <class T>
void widen_row(float* to, const T* from, long count) {
    for (long j = 0; j < COLS; j += LANES) {
        const long some = count - j < LANES ? count - j : LANES;
        store(to + j, some > 0 ? load_some(from + j, some) : Floats{});
    }
}

template <class T>
void narrow_row(T* to, const float* from, long count) {
    for (long j = 0; j < count; j += LANES) {
        store_some(to + j, load(from + j), count - j < LANES ? count - j : LANES);
    }
}

struct Task {
    long sequence, head, col, cols;
};

// to[row][cols] = S, `to` a matrix of K x V.
template <class T>
void write_state(const Problem& p, const Task& t, T* to, const float* state) {
    for (long i = 0; i < p.keys; ++i) {
        narrow_row(to + i * p.values + t.col, state + i * COLS, t.cols);
    }
}

// left[token] = u - w @ S, stored as v_new and scaled by what of it is left at the chunk's end.
void new_values(const Problem& p, const Task& t, Scratch& s, long first, long end) {
    const float last = p.g[(end - 1) * p.heads + t.head];
    for (long token = first; token < end; ++token) {
        const long at = token * p.heads + t.head;
        float* left = s.left.data() + (token - first) * COLS;
        Row sums = {};
        pack_row(s.keys.data(), p.w + at * p.keys, p.keys);
        for (long i = 0; i < p.keys; ++i) {
            const Row state = load_row(s.state.data() + i * COLS);
            for (int j = 0; j < 4; ++j) sums.part[j] += s.keys[i] * state.part[j];
        }
        widen_row(left, p.u + at * p.values + t.col, t.cols);
        Row value = load_row(left);
        for (int j = 0; j < 4; ++j) value.part[j] -= sums.part[j];
        store_row(left, value);
        narrow_row(p.v_new + at * p.values + t.col, left, t.cols);
        const float decay = std::exp(last - p.g[at]);
        for (int j = 0; j < 4; ++j) value.part[j] *= decay;
        store_row(left, value);
    }
}

// S = exp(g_last) S + k^T @ left.
void advance(const Problem& p, const Task& t, Scratch& s, long first, long end) {
    const float decay = std::exp(p.g[(end - 1) * p.heads + t.head]);
    const long key_head = t.head / (p.heads / p.key_heads);
    for (long token = first; token < end; ++token) {
        pack_row(s.keys.data() + (token - first) * p.keys,
                 p.k + (token * p.key_heads + key_head) * p.keys, p.keys);
    }
    for (long i = 0; i < p.keys; ++i) {
        float* at = s.state.data() + i * COLS;
        Row state = load_row(at), sums = {};
        for (long token = first; token < end; ++token) {
            const float factor = s.keys[(token - first) * p.keys + i];
            const Row left = load_row(s.left.data() + (token - first) * COLS);
            for (int j = 0; j < 4; ++j) sums.part[j] += factor * left.part[j];
        }
        for (int j = 0; j < 4; ++j) state.part[j] = state.part[j] * decay + sums.part[j];
        store_row(at, state);
    }
}

void recur(const Problem& p, const Task& t, Scratch& s) {
    s.state.assign(p.keys * COLS, 0);
    s.left.resize(p.chunk * COLS);
    s.keys.resize(p.chunk * p.keys);
    const long size = p.keys * p.values, number = t.sequence * p.heads + t.head;
    if (p.h0) {
        for (long i = 0; i < p.keys; ++i) {
            const STATE* row = p.h0 + number * size + i * p.values + t.col;
            widen_row(s.state.data() + i * COLS, row, t.cols);
        }
    }
    const long end = p.starts[t.sequence + 1];
    long chunk = p.chunks[t.sequence];
    for (long first = p.starts[t.sequence]; first < end; first += p.chunk, ++chunk) {
        const long next = first + p.chunk < end ? first + p.chunk : end;
        write_state(p, t, p.h + (chunk * p.heads + t.head) * size, s.state.data());
        new_values(p, t, s, first, next);
        advance(p, t, s, first, next);
    }
    if (p.ht) write_state(p, t, p.ht + number * size, s.state.data());
}

}  // namespace

// All tensors are contiguous; a sequence's tokens and chunks lie in a row. `starts` and `chunks`
// have an entry for each of the `count` sequences; `starts` one more, the end of the last.
extern "C" __attribute__((visibility("default"))) void aot_chunk_gdn_h(
    const void* k, const void* w, const void* u, const float* g, void* h, void* v_new,
    const void* h0, void* ht, const int64_t* starts, const int64_t* chunks, int64_t count,
    int64_t heads, int64_t key_heads, int64_t keys, int64_t values, int64_t chunk,
    int64_t threads) {
    const Problem p = {static_cast<const Element*>(k),
                       static_cast<const Element*>(w),
                       static_cast<const Element*>(u),
                       g,
                       static_cast<SNAPSHOT*>(h),
                       static_cast<Element*>(v_new),
                       static_cast<const STATE*>(h0),
                       static_cast<STATE*>(ht),
                       starts,
                       chunks,
                       heads,
                       key_heads,
                       keys,
                       values,
                       chunk};
    const long across = (values + COLS - 1) / COLS, tasks = count * heads * across;
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1 && tasks > 1)
#else
    (void)threads;
#endif
    for (long i = 0; i < tasks; ++i) {
        const long col = i % across * COLS, head = i / across % heads;
        const long cols = values - col < COLS ? values - col : COLS;
        recur(p, {i / across / heads, head, col, cols}, scratch);
    }
}
