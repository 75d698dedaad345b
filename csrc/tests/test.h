/* test.h: the little that the C tests need. A test is a program: its main calls tests and ends with `return test_end();`. */
#ifndef VKB_TEST_H
#define VKB_TEST_H

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../internal.h"

extern atomic_int test_failures, test_checks; /* of the whole program, on any thread: fixture.c */

/* False is a failure; the rest is a message with its arguments. */
#define CHECK(condition, ...) \
    do { \
        test_checks++; \
        if (!(condition) && test_failures++ < 40) { \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
            fprintf(stderr, __VA_ARGS__); \
            fputc('\n', stderr); \
        } \
    } while (0)

/* For what nothing can go on without. */
#define REQUIRE(condition, ...) \
    do { \
        CHECK(condition, __VA_ARGS__); \
        if (test_failures && !(condition)) exit(1); \
    } while (0)

static inline int test_end(void) {
    printf("%d checks, %d failures\n", test_checks, test_failures);
    return test_failures || !test_checks;
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

#endif /* VKB_TEST_H */
