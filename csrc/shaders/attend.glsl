// attend.glsl: one head's attention of 16 rows of the batch, whatever sequences they belong to, by one subgroup. Queries, keys and values go from memory
// straight into fragments; both products are done by matrix hardware. The kernel defines
//   QKV           where q|k|v lie, as words
//   QKV_STRIDE    elements from row to row
//   D16           head size / 16, or more
//   cu_at         where the batch's cu_seqlens begin

const float LOG2E_ = 1.4426950408889634;

MATRIX_SUM(16, 16) attended[D16]; // column 2·t of 16 is element 4·t, + 1 is + 2, + 8 is + 1, + 9 is + 3
vec2 attended_top, attended_total; // of rows lane_row() and lane_row() + 8: greatest score, sum of the exponentials

// The words that a lane holds of rows `low` and `high`, whose heads begin at element `at` of a row.
uvec4 load_rows(uint low, uint high, uint at) {
    const uint column = (at + lane_column()) >> 1, stride = QKV_STRIDE >> 1;
    low = low * stride + column;
    high = high * stride + column;
    return uvec4(QKV[low], QKV[low + 4u], QKV[high], QKV[high + 4u]);
}

// The rows of the sequence that a row is in; of one past the batch, those of the last.
uvec2 sequence_of(uint row) {
    row = min(row, batch[0] - 1u);
    uvec2 range = uvec2(0u, batch[0]);
    for (uint b = 1u; b < batch[1]; b++) {
        const uint first = batch[cu_at + b];
        if (first <= row) range.x = first;
        else range.y = min(range.y, first);
    }
    return range;
}

// Keys and values of 16 rows from key0 on, of which those past LAST are that one again; values: elements 2·lane_row() and the next, of four keys.
#define LOAD_KEYS(LAST)                                                                                               \
    {                                                                                                                 \
        const uint last_ = (LAST), s_ = QKV_STRIDE >> 1;                                                              \
        const uvec4 at_ = min(key0 + lane_column() + uvec4(0u, 1u, 8u, 9u), uvec4(last_)) * s_ + lane_row();          \
        [[unroll]] for (uint d = 0; d < D16; d++)                                                                     \
            keys[d] = load_rows(min(key0 + lane_row(), last_), min(key0 + lane_row() + 8u, last_), key_at + 16u * d); \
        [[unroll]] for (uint d = 0; d < D16; d++) {                                                                   \
            const uvec4 word_ = at_ + ((value_at + 16u * d) >> 1);                                                    \
            values[d] = uvec4(QKV[word_.x], QKV[word_.y], QKV[word_.z], QKV[word_.w]);                                \
        }                                                                                                             \
    }

// Of the rows from row0 on, over every parts-th 16 keys from number `part` on.
void attend(uint head, uint row0, uint part, uint parts) {
    const uint row = row0 + lane_row();
    const uint size = push.head_size, query_at = head * size, key_at = query_at + push.heads * size, value_at = key_at + push.heads * size;

    uvec4 keys[D16], values[D16];
    const uint first = row0 == 0u ? 0u : sequence_of(row0).x;
    uint key0 = first + 16u * part;
    // The first rows are there whatever the batch: the reads need not wait for its header.
    LOAD_KEYS(row0 == 0u ? key0 + 15u : sequence_of(row0 + 15u).y - 1u)

    MATRIX_A(16, 16) q[D16];
    [[unroll]] for (uint d = 0; d < D16; d++) {
        const uvec4 word = load_rows(row, row + 8u, query_at + 16u * d);
        SET_ELEMENTS(q[d], 16u * d < size ? word : uvec4(0u))
    }
    const uvec2 low = sequence_of(row), high = sequence_of(row + 8u);
    const uint end = sequence_of(row0 + 15u).y;
    [[unroll]] for (uint d = 0; d < D16; d++) attended[d] = MATRIX_SUM(16, 16)(0.0);
    vec2 top = vec2(LOWEST), total = vec2(0.0); // of rows `row` and `row + 8`

    while (key0 < end) {
        MATRIX_SUM(16, 16) s = MATRIX_SUM(16, 16)(0.0);
        [[unroll]] for (uint d = 0; d < D16; d++) {
            MATRIX_B(16, 16) k;
            SET_ELEMENTS(k, 16u * d < size ? keys[d] : uvec4(0u))
            s = coopMatMulAdd(q[d], k, s);
        }

        const uvec4 place = key0 + lane_column() + uvec4(0u, 1u, 8u, 9u);
        MATRIX_A(16, 16) p;
        [[unroll]] for (uint h = 0; h < 2; h++) {
            const uvec2 range = h == 0u ? low : high;
            const bvec4 seen = bvec4(uvec4(greaterThanEqual(place, uvec4(range.x))) & uvec4(lessThan(place, uvec4(range.y))));
            vec4 score = vec4(s[4u * h], s[4u * h + 1u], s[4u * h + 2u], s[4u * h + 3u]) * (push.scale * LOG2E_);
            score = mix(vec4(LOWEST), score, seen);
            const float before = top[h];
            top[h] = max(before, row_greatest(max(max(score.x, score.y), max(score.z, score.w))));
            const float again = exp2(before - top[h]);
            const vec4 e = mix(vec4(0.0), exp2(score - top[h]), seen);
            total[h] = total[h] * again + row_total(e.x + e.y + e.z + e.w);
            [[unroll]] for (uint i = 0; i < 4; i++) p[4u * h + i] = float16_t(e[i]);
            [[unroll]] for (uint d = 0; d < D16; d++)
                [[unroll]] for (uint i = 0; i < 4; i++) attended[d][4u * h + i] *= again;
        }
        [[unroll]] for (uint d = 0; d < D16; d++) { // column g is element 2·g, column g + 8 element 2·g + 1
            MATRIX_B(16, 16) v;
            const uvec4 word = 16u * d < size ? mix(uvec4(0u), values[d], lessThan(place, uvec4(end))) : uvec4(0u);
            [[unroll]] for (uint i = 0; i < 4; i++) {
                const f16vec2 pair = unpackFloat2x16(word[i]);
                v[i] = pair.x;
                v[i + 4u] = pair.y;
            }
            attended[d] = coopMatMulAdd(p, v, attended[d]);
        }
        key0 += 16u * parts;
        if (key0 < end) { LOAD_KEYS(end - 1u) }
    }

    attended_top = top;
    attended_total = total;
}
