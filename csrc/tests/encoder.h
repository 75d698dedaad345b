/* encoder.h: a tiny BERT with random weights, large enough that attention is peaked and texts differ. */
#ifndef VKB_TEST_ENCODER_H
#define VKB_TEST_ENCODER_H

#include "fixture.h"

enum { ENCODER_HIDDEN = 60, ENCODER_HEADS = 5, ENCODER_INNER = 100, ENCODER_LAYERS = 3, ENCODER_VOCABULARY = 211, ENCODER_POSITIONS = 128 };

/* For a batch of these lengths, with random ids. Outputs: 0 pooled and normalised [B, hidden], 1 the last layer's rows [T, hidden]. */
void encoder_begin(fixture *f, const uint32_t *lengths, uint32_t sequences, uint32_t dtype);
/* The batch of sequences `first` … `first + count - 1` of f alone, to be run with f's program; borrows f's arrays but for `cu`, [count +
 * 1]. */
vkb_batch encoder_part(const fixture *f, uint32_t first, uint32_t count, uint32_t *cu);

#endif /* VKB_TEST_ENCODER_H */
