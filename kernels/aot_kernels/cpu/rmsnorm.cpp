// y = x * rsqrt(mean(x^2) + eps) * weight over the last dimension, computed in fp32.
//
// A row of rmsnorm.csv gives DTYPE and COLS, the length of a row of x: 0 is any length, a number
// lets the compiler unroll for that one. Zhang and Sennrich, "Root Mean Square Layer
// Normalization", NeurIPS 2019.

#include "element.h"

namespace {

using Element = DTYPE;

constexpr int CHAINS = 4;  // independent sums hide the latency of the addition
constexpr long STEP = CHAINS * LANES;

static_assert(COLS % STEP == 0, "a fixed COLS has to be a multiple of the vector step");

inline float sum_of_squares(const Element* x, long cols) {
    Floats acc[CHAINS] = {};
    long j = 0;
    for (; j + STEP <= cols; j += STEP) {
#pragma GCC unroll 4
        for (int chain = 0; chain < CHAINS; ++chain) {
            const Floats v = load(x + j + chain * LANES);
            acc[chain] += v * v;
        }
    }
    for (; j < cols; j += LANES) {
        const Floats v = load_some(x + j, cols - j < LANES ? cols - j : LANES);
        acc[0] += v * v;
    }
    return sum((acc[0] + acc[1]) + (acc[2] + acc[3]));
}

inline void scale_row(const Element* x, const Element* weight, Element* y, float scale, long cols) {
    long j = 0;
    for (; j + LANES <= cols; j += LANES) store(y + j, load(x + j) * scale * load(weight + j));
    if (j < cols) {
        const long rest = cols - j;
        store_some(y + j, load_some(x + j, rest) * scale * load_some(weight + j, rest), rest);
    }
}

inline void norm_row(const Element* x, const Element* weight, Element* y, float eps, long cols) {
    const float mean = sum_of_squares(x, cols) / static_cast<float>(cols);
    scale_row(x, weight, y, 1.0f / __builtin_sqrtf(mean + eps), cols);
}

// Below this many elements a thread, waking it costs more than it saves.
constexpr long WORTH_A_THREAD = 1 << 14;

}  // namespace

// Strides are in elements; the elements of a row, and `weight`, are contiguous. `cols` is positive,
// and equal to COLS where that is fixed.
extern "C" __attribute__((visibility("default"))) void aot_rmsnorm(
    const void* x, const void* weight, void* y, int64_t rows, int64_t cols, int64_t x_row,
    int64_t y_row, float eps, int64_t threads) {
    const Element* from = static_cast<const Element*>(x);
    const Element* by = static_cast<const Element*>(weight);
    Element* to = static_cast<Element*>(y);
    const long length = COLS > 0 ? COLS : cols;
    const long worth = rows * length / WORTH_A_THREAD;
    const long team = worth < threads ? worth : threads;
    (void)team;
#ifdef _OPENMP
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
#endif
    for (long i = 0; i < rows; ++i) norm_row(from + i * x_row, by, to + i * y_row, eps, length);
}
