// linear_max.glsl: what the LINEAR_MAX kernels share: the greatest product of each output, then bias, relu and log, which all rise.

// Rises with v and can be undone by itself. A NaN is the greatest of all, so that it is not lost on the way to the host.
int ordered(float v) {
    int bits = floatBitsToInt(v);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return 0x7FFFFFFF;
    return bits ^ ((bits >> 31) & 0x7FFFFFFF);
}

// log(1 + max(v, 0)), to a few roundings: built-in logarithms need not be close near 1. u = 1 + v = m·2^e with m in [√½, √2), and
// log m = 2·atanh((m − 1)/(m + 1)).
float log1p_relu(float v) {
    if (floatBitsToInt(v) <= 0) return 0.0;
    if (floatBitsToInt(v) >= 0x7F800000) return v; // infinity and NaN
    uint u = floatBitsToUint(1.0 + v);
    int e = int((u + (0x3F800000u - 0x3F3504F3u)) >> 23) - 127;
    float d = e == 0 ? v : uintBitsToFloat(u - (uint(e) << 23)) - 1.0;
    float s = d / (2.0 + d), z = s * s;
    float tail = z * fma(z, fma(z, fma(z, 1.0 / 9.0, 1.0 / 7.0), 1.0 / 5.0), 1.0 / 3.0);
    return fma(float(e), 0.69314718056, fma(2.0 * s, tail, 2.0 * s));
}

// What becomes of output n's greatest product, kept by ordered().
float finish_max(int best, uint n) {
    float v = intBitsToFloat(best ^ ((best >> 31) & 0x7FFFFFFF));
    if (push.bias_at != NONE) v += vector1(push.bias_at + n);
    return n < push.output_width ? log1p_relu(v) : 0.0;
}
