#include <string.h>

#include "internal.h"

uint32_t vkb_dtype_size(uint32_t dtype) {
    static const uint32_t sizes[] = {[VKB_F32] = 4, [VKB_F16] = 2, [VKB_BF16] = 2, [VKB_I8] = 1};
    return dtype < sizeof sizes / sizeof *sizes ? sizes[dtype] : 0;
}

static float from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t to_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

/* IEEE 754 binary16: 1 sign, 5 exponent (bias 15), 10 fraction bits. Both ways are computed without a branch, so that compilers do several
   at a time: a model has millions. */
static inline float widen(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = (uint32_t)(h & 0x7fffu) << 13;
    uint32_t small = to_bits((float)(int32_t)(h & 0x3ffu) * 0x1p-24f); /* zero and subnormals */
    uint32_t usual = rest + (112u << 23);
    usual = rest >= 0x0f800000u ? rest | 0x7f800000u : usual; /* infinity, NaN */
    return from_bits(sign | (rest < 0x00800000u ? small : usual));
}

static inline uint16_t narrow(float f) {
    uint32_t u = to_bits(f), sign = u >> 16 & 0x8000u;
    u &= 0x7fffffffu;
    uint32_t small = to_bits(from_bits(u < 0x38800000u ? u : 0) + 0.5f) - to_bits(0.5f); /* the sum rounds to a multiple of 2^-24 */
    uint32_t usual = (u - 0x38000000u + 0xfffu + (u >> 13 & 1)) >> 13;
    usual = u < 0x38800000u ? small : usual;    /* below 2^-14 */
    usual = u >= 0x477ff000u ? 0x7c00u : usual; /* 65520 and more round to infinity */
    usual = u > 0x7f800000u ? 0x7e00u : usual;  /* NaN */
    return (uint16_t)(sign | usual);
}

float vkb_f16_to_f32(uint16_t h) { return widen(h); }

uint16_t vkb_f32_to_f16(float f) { return narrow(f); }

void vkb_to_f16(const float *x, uint64_t count, uint16_t *out) {
    for (uint64_t i = 0; i < count; i++) out[i] = narrow(x[i]);
}

void vkb_round_to_f16(float *x, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) x[i] = widen(narrow(x[i]));
}

void vkb_to_f32(uint32_t dtype, const void *data, uint64_t count, float *out) {
    const uint8_t *bytes = data;
    if (dtype == VKB_F32) {
        memcpy(out, bytes, count * 4);
        return;
    }
    for (uint64_t i = 0; i < count && dtype == VKB_F16; i++) {
        uint16_t h;
        memcpy(&h, bytes + 2 * i, 2);
        out[i] = widen(h);
    }
    for (uint64_t i = 0; i < count && dtype == VKB_BF16; i++) {
        uint16_t h;
        memcpy(&h, bytes + 2 * i, 2);
        out[i] = vkb_bf16_to_f32(h);
    }
}

float vkb_quantize(const float *x, uint32_t count, vkb_i8_range range, int8_t *q) {
    const float magic = 0x1.8p23f; /* adding it rounds to an integer, ties to even */
    float greatest = 0, least = 0, all = 0;
    for (uint32_t i = 0; i < count; i++) {
        greatest = x[i] > greatest ? x[i] : greatest;
        least = x[i] < least ? x[i] : least;
        all += 0 * x[i]; /* NaN as soon as one number is not finite */
    }
    float size = range.spread ? greatest - least : greatest > -least ? greatest : -least, most = (float)range.most;
    bool zero = size < 0x1p-100f; /* most / size would be near overflow */
    float inverse = most / size;
    for (uint32_t i = 0; i < count; i++) {
        float y = zero || all != 0 ? 0 : x[i] * inverse;
        y += magic;
        q[i] = (int8_t)(y - magic);
    }
    return all != 0 ? all : zero ? 0 : size / most;
}
