// gelu_half.glsl: the numbers of GELU for results in f16, for GLSL and CUDA C++: P of Φ(v) ≈ ½ + v·P(v²) by Horner's rule, highest power first.
// activation.glsl says how it was fitted and how exact it is.
#define GELU_HALF_8 3.5728971187472844e-11
#define GELU_HALF_7 -3.75684714909745e-09
#define GELU_HALF_REST(STEP) \
    STEP(1.741781157412826e-07) \
    STEP(-4.726533489845565e-06) \
    STEP(8.431011711430611e-05) \
    STEP(-0.001055093947207773) \
    STEP(0.009643357426148252) \
    STEP(-0.06607694058681846) \
    STEP(0.39876187544301167)
