/*
 * cpu_kernel_functions.h: exp, GELU and the other activations on vectors, for cpu_kernel.h. The errors that they state are checked by
 * tests/test_functions.c.
 */

/* Adding it to a number of at most 2²² rounds that to an integer, which is then found in the low bits. */
static const float magic = 0x1.8p23f;

/* c[0] + c[1]·x + … */
#define POLYNOMIAL(x, c) polynomial(x, c, sizeof(c) / sizeof *(c))
INLINE vf polynomial(vf x, const float *c, size_t n) {
    vf sum = splat(c[n - 1]);
    UNROLL for (size_t i = n - 1; i-- > 0;) sum = FMA(sum, x, splat(c[i]));
    return sum;
}

/*
 * eˣ = 2ⁿ·eʳ, n = round(x / ln 2), |r| ≤ ln 2 / 2; eʳ = 1 + r + r²·q(r), q fitted by minimax (3.5e-9). Relative error ≤ 1.2e-7 on
 * [−87.33, 88.37], which x must not leave.
 */
INLINE vf exponential_within(vf x) {
    static const float q[] = {0.4999999404f, 0.1666650921f, 0.04166848958f, 0.008370116353f, 0.001381410286f};
    vf rounded = FMA(x, splat(0x1.715476p+0f), splat(magic)), n = rounded - splat(magic);
    vf r = FMA(n, splat(-0x1.63p-1f), x); /* ln 2 in two parts; the first has few bits, so that n times it is exact */
    r = FMA(n, splat(0x1.bd0106p-13f), r);
    vf e = FMA(r * r, POLYNOMIAL(r, q), r) + splat(1);
    vu power = ((vu)rounded << 23) + (127u << 23); /* magic's own bits leave at the top */
    return e * (vf)power;
}

/* 0 below that range, infinity above. */
INLINE vf exponential(vf x) {
    vf y = exponential_within(at_most(at_least(x, -87.33f), 88.37f));
    return pick(x > splat(88.37f), splat(INFINITY), pick(x < splat(-87.33f), splat(0), y));
}

/*
 * x·Φ(x) = max(x, 0) − |x|·Φ(−|x|), with Φ(−a) = 2^p(a): no cancellation, unlike 1 + erf. p fitted by minimax on [0, 5.65], weighted so
 * that the error of a·Φ(−a) is ≤ 9e-9, and exact at 0; beyond, where a·Φ(−a) < 5e-8, a is taken as 5.65. 2ᶠ, |f| ≤ ½, is a polynomial as
 * well (1e-7). With all roundings the error is at most 1.2e-7·max(|x·Φ(x)|, 1).
 */
INLINE vf gelu(vf x) {
    static const float p[] = {-1,
                              -1.1511110455f,
                              -0.45916214315f,
                              -0.05262761077f,
                              0.007245421162f,
                              -0.00027207569187f,
                              -0.00013147323696f,
                              2.8056942867e-5f,
                              -1.9020657681e-6f};
    static const float q[] = {1, 0.6931472149f, 0.2402223462f, 0.0555030836f, 0.0096718751f, 0.0013407259f};
    vf a = at_most(absolute(x), 5.65f), e = POLYNOMIAL(a, p), rounded = e + splat(magic);
    vf fraction = POLYNOMIAL(e - (rounded - splat(magic)), q);
    vf tail = (vf)((vu)fraction + ((vu)rounded << 23));     /* to the exponent, −27 or more; magic's own bits leave at the top */
    return FMA(x, splat(0), FMA(-a, tail, at_least(x, 0))); /* the product shows −∞, which at_least hides */
}

/* Relative error ≤ 1.5e-7; 0 where the result is less than 1e-38. x·sigmoid(x), SiLU: 1.8e-7. */
INLINE vf sigmoid(vf x) { return splat(1) / (splat(1) + exponential(-x)); }

/* ½·x·(1 + tanh u) = x / (1 + exp(−2u)), u = √(2/π)·(x + 0.044715·x³). Error ≤ 1.5e-7·max(|result|, 1). */
INLINE vf gelu_tanh(vf x) {
    vf minus_2u = x * FMA(x * x, splat(-0.07135481627f), splat(-1.595769122f));
    return x / (splat(1) + exponential(minus_2u));
}

/* Relative error ≤ 2e-7: a + a³·q(a²) near zero, where 1 − 2 / (e²ᵃ + 1) would cancel. */
INLINE vf hyperbolic_tangent(vf x) {
    static const float q[] = {-0.3333328366f, 0.1333149076f, -0.05374341831f, 0.0206503775f, -0.005716856569f};
    vf a = absolute(x), square = a * a;
    vf near = FMA(a * square, POLYNOMIAL(square, q), a);
    vf far = splat(1) - splat(2) / (exponential(a + a) + splat(1));
    vf y = pick(a < splat(0.625f), near, far);
    return (vf)((vu)y | ((vu)x & 0x80000000u));
}

INLINE vf activate(uint32_t activation, vf x) {
    switch (activation) {
    case VKB_ACT_GELU: return gelu(x);
    case VKB_ACT_GELU_TANH: return gelu_tanh(x);
    case VKB_ACT_RELU: return at_least(x, 0);
    case VKB_ACT_SILU: return x * sigmoid(x);
    case VKB_ACT_TANH: return hyperbolic_tangent(x);
    case VKB_ACT_SIGMOID: return sigmoid(x);
    default: return x;
    }
}
