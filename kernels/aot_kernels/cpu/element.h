// Element types: bf16, fp16 and fp32 in memory, vectors of fp32 in registers.
//
// GCC's vector extensions (Clang has them too), so that one text serves every CPU; F16C replaces
// the bit code of fp16 where the target has it. All roundings are to nearest, ties to even;
// infinities stay infinities, NaNs stay NaNs.
#pragma once

#include <cstdint>
#include <cstring>
#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace {

#ifdef __AVX2__
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

using Floats = float __attribute__((vector_size(4 * LANES)));
using Words = uint32_t __attribute__((vector_size(4 * LANES)));
using Ints = int32_t __attribute__((vector_size(4 * LANES)));
using Halves = uint16_t __attribute__((vector_size(2 * LANES)));

// Named as the rows name them: -DDTYPE=bf16 picks the type.
struct bf16 {
    uint16_t bits;
};
struct fp16 {
    uint16_t bits;
};
using fp32 = float;

template <class V, class T>
inline V read(const T* from) {
    V v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

template <class V, class T>
inline void write(T* to, V v) {
    std::memcpy(to, &v, sizeof v);
}

inline Words widen(Halves h) {
#ifdef __AVX2__
    return (Words)_mm256_cvtepu16_epi32((__m128i)h);  // GCC 12 makes five instructions of the other
#else
    return __builtin_convertvector(h, Words);
#endif
}

inline Floats load(const fp32* from) { return read<Floats>(from); }

inline void store(fp32* to, Floats v) { write(to, v); }

inline Floats load(const bf16* from) {
    return (Floats)(widen(read<Halves>(from)) << 16);
}

inline void store(bf16* to, Floats v) {
    const Words w = (Words)v;
    const Words rounded = (w + 0x7fffu + ((w >> 16) & 1u)) >> 16;
    const Words nan = (w >> 16) | 0x40u;  // its payload may lie in the bits that are dropped
    write(to, __builtin_convertvector(v != v ? nan : rounded, Halves));
}

#if defined(__AVX2__) && defined(__F16C__)

inline Floats load(const fp16* from) { return (Floats)_mm256_cvtph_ps(read<__m128i>(from)); }

inline void store(fp16* to, Floats v) {
    write(to, _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
}

#else

inline Floats load(const fp16* from) {
    const Words h = widen(read<Halves>(from));
    const Words sign = (h & 0x8000u) << 16;
    const Ints exponent = (Ints)(h & 0x7c00u);
    const Words normal = ((h & 0x7fffu) << 13) + (112u << 23);
    const Words special = normal | 0x7f800000u;
    const Words subnormal =
        (Words)(__builtin_convertvector((Ints)(h & 0x3ffu), Floats) * 0x1p-24f);
    const Words finite = exponent == 0 ? subnormal : normal;
    return (Floats)(sign | (exponent == 0x7c00 ? special : finite));
}

inline void store(fp16* to, Floats v) {
    const Words w = (Words)v;
    const Words magnitude = w & 0x7fffffffu;
    const Ints ordered = (Ints)magnitude;  // signed comparison is one instruction, unsigned is not
    const Words odd = (magnitude >> 13) & 1u;
    const Words normal = (magnitude - (112u << 23) + 0xfffu + odd) >> 13;
    // The unit in the last place of 0.5f is the smallest fp16: the addition does the rounding.
    const Words half = (Words)(Floats{} + 0.5f);
    const Words subnormal = (Words)((Floats)magnitude + 0.5f) - half;
    const Words infinity = Words{} + 0x7c00u;
    const Words nan = ((magnitude >> 13) & 0x3ffu) | 0x7e00u;
    const Words finite = ordered < 0x38800000 ? subnormal : normal;
    const Words bounded = ordered >= 0x47800000 ? infinity : finite;
    const Words any = ordered > 0x7f800000 ? nan : bounded;
    write(to, __builtin_convertvector(any | ((w >> 16) & 0x8000u), Halves));
}

#endif

// The first `count` lanes; the others are zero.
template <class T>
inline Floats load_some(const T* from, long count) {
    T lanes[LANES] = {};
    std::memcpy(lanes, from, count * sizeof(T));
    return load(lanes);
}

template <class T>
inline void store_some(T* to, Floats v, long count) {
    T lanes[LANES];
    store(lanes, v);
    std::memcpy(to, lanes, count * sizeof(T));
}

inline float sum(Floats v) {
    float total = 0;
    for (int lane = 0; lane < LANES; ++lane) total += v[lane];
    return total;
}

}  // namespace
