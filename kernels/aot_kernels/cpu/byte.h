// Elements of one byte as floats: int8, and the 8-bit floats e4m3fn and e4m3fnuz.
//
// e4m3fn is that of the Open Compute Project's "8-bit Floating Point Specification (OFP8)": a bias
// of 7, no infinities, a NaN of each sign where all other bits are set. e4m3fnuz has a bias of 8,
// neither infinities nor a negative zero, whose bits are the only NaN.
#pragma once

#include <cstdint>

namespace {

// Named as the rows name them: -DDTYPE=e4m3fn picks the type.
struct int8 {
    static constexpr float value(int bits) { return bits < 128 ? bits : bits - 256; }
};

template <int Bias>
constexpr float e4m3(int bits) {
    const int exponent = bits >> 3 & 15, fraction = bits & 7;
    float v = exponent == 0 ? fraction : fraction + 8;
    for (int e = exponent == 0 ? 1 : exponent; e < Bias + 3; ++e) v /= 2;
    for (int e = exponent; e > Bias + 3; --e) v *= 2;
    return bits & 128 ? -v : v;
}

struct e4m3fn {
    static constexpr float value(int bits) {
        return (bits & 127) == 127 ? __builtin_nanf("") : e4m3<7>(bits);
    }
};

struct e4m3fnuz {
    static constexpr float value(int bits) {
        return bits == 128 ? __builtin_nanf("") : e4m3<8>(bits);
    }
};

template <class Byte>
struct Table {
    float of[256];

    constexpr Table() : of() {
        for (int bits = 0; bits < 256; ++bits) of[bits] = Byte::value(bits);
    }
    float operator[](uint8_t bits) const { return of[bits]; }
};

}  // namespace
