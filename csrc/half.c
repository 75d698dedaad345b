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

/* IEEE 754 binary16: 1 sign, 5 exponent (bias 15), 10 fraction bits. */
float vkb_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = (h >> 10) & 0x1fu, fraction = h & 0x3ffu;
    if (exponent == 0x1f) return from_bits(sign | 0x7f800000u | fraction << 13); /* infinity, NaN */
    if (exponent) return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float f = (float)fraction * 0x1p-24f; /* zero and subnormals */
    return sign ? -f : f;
}

uint16_t vkb_f32_to_f16(float f) {
    uint32_t u = to_bits(f), sign = u >> 16 & 0x8000u;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);  /* NaN */
    if (u >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and more round to infinity */
    if (u < 0x38800000u) {                                   /* below 2^-14: subnormal; the sum rounds to a multiple of 2^-24 */
        float rounded = from_bits(u) + 0.5f;
        return (uint16_t)(sign | (to_bits(rounded) - to_bits(0.5f)));
    }
    uint32_t odd = u >> 13 & 1;
    return (uint16_t)(sign | ((u - 0x38000000u + 0xfffu + odd) >> 13));
}

void vkb_to_f32(uint32_t dtype, const void *data, uint64_t count, float *out) {
    const uint8_t *bytes = data;
    if (dtype == VKB_F32) {
        memcpy(out, bytes, count * 4);
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint16_t h;
        memcpy(&h, bytes + 2 * i, 2);
        out[i] = dtype == VKB_F16 ? vkb_f16_to_f32(h) : vkb_bf16_to_f32(h);
    }
}

float vkb_quantize(const float *x, uint32_t count, int8_t *q) {
    const float magic = 0x1.8p23f; /* adding it rounds to an integer, ties to even */
    float most = 0, all = 0;
    for (uint32_t i = 0; i < count; i++) {
        float a = from_bits(to_bits(x[i]) & 0x7fffffffu);
        most = a > most ? a : most;
        all += 0 * a; /* NaN as soon as one number is not finite */
    }
    bool zero = most < 0x1p-100f; /* 127 / most would be near overflow */
    float inverse = 127 / most;
    for (uint32_t i = 0; i < count; i++) {
        float y = zero || all != 0 ? 0 : x[i] * inverse;
        y += magic;
        q[i] = (int8_t)(y - magic);
    }
    return all != 0 ? all : zero ? 0 : most / 127;
}
