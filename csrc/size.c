#include "internal.h"

bool vkb_mul(uint64_t a, uint64_t b, uint64_t *product) {
    *product = a * b;
    return a == 0 || *product / a == b;
}

bool vkb_add(uint64_t a, uint64_t b, uint64_t *sum) {
    *sum = a + b;
    return *sum >= a;
}
