/*
 * The CPU's vectorised functions against the C library's in double, within the bounds that cpu_kernel_functions.h states: activations by
 * way of GATE's kernel, whose other factor is 1, and exp by way of softmax's, whose greatest score is 0.
 */
#include <math.h>

#include "fixture.h"

#include "../cpu.h"

enum { RUN = 48 }; /* numbers at a time: whole vectors, and with RUN − 5 of them a part of one */

static double gelu(double x) { return 0.5 * x * erfc(-x / sqrt(2)); }
static double gelu_tanh(double x) { return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x))); }
static double relu(double x) { return x > 0 ? x : 0; }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double silu(double x) { return x * sigmoid(x); }

/* An error may be `relative` times the result or `absolute`, whichever is more. */
static const struct function {
    uint32_t activation;
    const char *name;
    double (*exact)(double);
    double relative, absolute;
} functions[] = {
    {VKB_ACT_GELU, "gelu", gelu, 1.2e-7, 1.2e-7}, {VKB_ACT_GELU_TANH, "gelu_tanh", gelu_tanh, 1.5e-7, 1.5e-7},
    {VKB_ACT_RELU, "relu", relu, 0, 0},           {VKB_ACT_SILU, "silu", silu, 1.8e-7, 1e-36},
    {VKB_ACT_TANH, "tanh", tanh, 2e-7, 0},        {VKB_ACT_SIGMOID, "sigmoid", sigmoid, 1.5e-7, 1e-38},
};

static double worst; /* of errors, in units of what they may be */
static float worst_at;

static void compare(double got, double want, double x, double allowed, const char *kernels, const char *name) {
    double off = fabs(got - want) / (allowed > 0 ? allowed : 1e-300);
    if (off > worst) {
        worst = off;
        worst_at = (float)x;
    }
    CHECK(off <= 1, "%s: %s(%.9g) is %.9g, want %.9g", kernels, name, x, got, want);
}

static void activation(const vkb_cpu_kernels *kernels, const struct function *f, const float *x, uint32_t n) {
    float ones[RUN], y[RUN];
    for (uint32_t i = 0; i < RUN; i++) ones[i] = 1;
    kernels->gate(f->activation, x, ones, n, y);
    for (uint32_t i = 0; i < n; i++) {
        double want = f->exact(x[i]);
        compare(y[i], want, x[i], fmax(f->relative * fabs(want), f->absolute), kernels->name, f->name);
    }
}

/* Zero, and what is not a number or infinite, which has to show where the function does not bound it. */
static void edges(const vkb_cpu_kernels *kernels, const struct function *f) {
    float x[RUN], ones[RUN], y[RUN];
    for (uint32_t i = 0; i < RUN; i++) {
        x[i] = i % 3 ? 0 : NAN;
        ones[i] = 1;
    }
    kernels->gate(f->activation, x, ones, RUN - 5, y);
    for (uint32_t i = 0; i < RUN - 5; i++)
        CHECK(i % 3 ? y[i] == (float)f->exact(0) : isnan(y[i]), "%s: %s(%g) is %g", kernels->name, f->name, (double)x[i], (double)y[i]);
    for (uint32_t i = 0; i < RUN; i++) x[i] = i % 2 ? INFINITY : -INFINITY;
    kernels->gate(f->activation, x, ones, RUN, y);
    for (uint32_t i = 0; i < RUN; i++)
        CHECK(!isfinite(y[i]) == !isfinite(f->exact(x[i])), "%s: %s(%g) is %g", kernels->name, f->name, (double)x[i], (double)y[i]);
}

static void exponential(const vkb_cpu_kernels *kernels, const float *x, uint32_t n) {
    float row[RUN];
    double sum = 0;
    row[0] = 0;
    for (uint32_t i = 1; i < n; i++) row[i] = -fabsf(x[i]);
    float got = kernels->softmax(row, NULL, n, 1);
    for (uint32_t i = 0; i < n; i++) {
        double at = i ? -fabs((double)x[i]) : 0, want = exp(at);
        compare(row[i], want, at, at < -87.33 ? 2e-38 : 1.2e-7 * want, kernels->name, "exp");
        sum += row[i];
    }
    CHECK(fabs(got - sum) <= 3e-7 * sum, "%s: softmax's sum is %.9g, want %.9g", kernels->name, (double)got, sum);
}

/* Numbers of every size that matters, of both signs: number i of a run. */
static float number(uint32_t run, uint32_t i) {
    uint32_t n = run * RUN + i;
    float size = ldexpf(1 + (float)(n * 2654435761u >> 8) / (1 << 24), (int)(n % 31) - 24); /* 2⁻²⁴ to 2⁷ */
    return n / 31 % 2 ? size : -size;
}

int main(int argc, char **argv) {
    enum { RUNS = 2000 };
    vkb_device *device = open_device(argc > 1 ? argv[1] : "cpu");
    const vkb_cpu_kernels *kernels = ((const vkb_cpu_device *)device)->kernels;
    for (uint32_t f = 0; f <= COUNT(functions); f++) {
        worst = 0;
        if (f < COUNT(functions)) edges(kernels, &functions[f]);
        for (uint32_t run = 0; run < RUNS; run++) {
            float x[RUN];
            for (uint32_t i = 0; i < RUN; i++) x[i] = number(run, i);
            uint32_t n = run % 2 ? RUN - 5 : RUN;
            if (f < COUNT(functions))
                activation(kernels, &functions[f], x, n);
            else
                exponential(kernels, x, n);
        }
        printf("%s: %.2f of its bound, at %.9g\n", f < COUNT(functions) ? functions[f].name : "exp", worst, (double)worst_at);
    }
    printf("%s: ", kernels->name);
    vkb_device_close(device);
    return test_end();
}
