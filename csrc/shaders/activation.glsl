// activation.glsl: vkb_activation, chosen by MODE's lower byte, four elements at a time. exp2 never sees an argument that overflows.

#include "gelu_half.glsl"

const float LOG2E = 1.4426950408889634;

// Half of erfc(|v|/√2): a polynomial in t = 1/(1 + p|v|) times exp(-v²/2). Fitted by minimax for GELU: x times this is within 7.3e-9 of exact,
// and what f32 arithmetic adds is at most one rounding of the result. Because the tail itself is computed, not 1 - erf, nothing cancels.
vec4 half_erfc(vec4 a) {
    vec4 t = 1.0 / (1.0 + 0.39731207489967346 * a);
    vec4 r = fma(t, vec4(0.11261937767267227), vec4(-0.5158045887947083));
    r = fma(r, t, vec4(0.7045641541481018));
    r = fma(r, t, vec4(0.006438316777348518));
    r = fma(r, t, vec4(0.38177868723869324));
    r = fma(r, t, vec4(0.3104041814804077));
    return 0.5 * r * t * exp2((-0.5 * LOG2E) * min(a * a, 250.0));
}

// GELU for results in f16: Φ(v) as ½ + v·P(v²), clamped to 0 … 1, which a GPU does by the way. P is fitted for |v| up to 4.4 and grows from there on, so that the
// clamp sees to the rest and v itself needs none. v·Φ(v) is within 4.8e-5 of exact, half a unit of f16 at 0.1. Against P held within ±4.4 by a clamp of v: 768 to
// 3072 in 464 µs instead of 506 (one H100, 32,768 rows, where a bare LINEAR takes 432). Two products fewer give 454, and 3e-4.
vec4 gelu_half(vec4 v) {
    const vec4 u = v * v;
    vec4 p = fma(u, vec4(GELU_HALF_8), vec4(GELU_HALF_7));
#define STEP(c) p = fma(p, u, vec4(c));
    GELU_HALF_REST(STEP)
#undef STEP
    return v * clamp(fma(v, p, vec4(0.5)), 0.0, 1.0);
}

vec4 vkb_tanh(vec4 v) { return 1.0 - 2.0 / (exp2((2.0 * LOG2E) * clamp(v, -15.0, 15.0)) + 1.0); }

vec4 vkb_sigmoid(vec4 v) { return 1.0 / (1.0 + exp2(-LOG2E * clamp(v, -80.0, 80.0))); }

vec4 activate(vec4 v) {
    switch (MODE & 0xFFu) {
    case 1u: { // gelu: x·Φ(x) = max(x, 0) - |x|·erfc(|x|/√2)/2
        if (OUTPUT_F16) return gelu_half(v);
        vec4 a = abs(v);
        return max(v, 0.0) - a * half_erfc(a);
    }
    case 2u: return 0.5 * v * (1.0 + vkb_tanh(0.7978845608028654 * v * fma(0.044715 * v, v, vec4(1.0)))); // gelu by tanh
    case 3u: return max(v, 0.0);
    case 4u: return v * vkb_sigmoid(v);
    case 5u: return vkb_tanh(v);
    case 6u: return vkb_sigmoid(v);
    default: return v;
    }
}
