/* definitions.h: ops once more, in f64 and element by element as vkbert.h defines them, with no line in common with any backend. */
#ifndef VKB_TEST_DEFINITIONS_H
#define VKB_TEST_DEFINITIONS_H

#include "fixture.h"

/* What a LINEAR, ATTENTION, NORM, GATE, ROTATE or LINEAR_MAX op whose inputs fixture_input made must give: [rows, width of its output],
   rows being the fixture's tokens or sequences. The caller frees it. ATTENTION: sequences of at most 512 tokens. */
float *defined_result(const fixture *f, const vkb_op *op);

#endif /* VKB_TEST_DEFINITIONS_H */
