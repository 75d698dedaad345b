#version 450
//! variant shared
//! variant subgroup -DSUBGROUP
// EMBED: scale · word[id] + position[pos] + type[type_id], then norm. The word table may be bound in blocks of rows, one dispatch each: a token
// whose row is in another block is left alone.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "rows.glsl"

// Tables have rows of output_stride elements.
vec4 source_row(uint row, uint c4) {
    const uint n4 = push.output_stride >> 2;
    uint word = (batch[push.ids_at + row] - push.row_first) * n4 + c4;
    vec4 v = push.scale * (WEIGHT_F16 ? widen(weight2[word]) : uintBitsToFloat(weight4[word]));
    if ((push.has_tables & 1u) != 0u) {
        uint at = batch[push.positions_at + row] * n4 + c4;
        v += WEIGHT_F16 ? widen(position2[at]) : uintBitsToFloat(position4[at]);
    }
    if ((push.has_tables & 2u) != 0u) {
        uint at = batch[push.types_at + row] * n4 + c4;
        v += WEIGHT_F16 ? widen(type2[at]) : uintBitsToFloat(type4[at]);
    }
    return v;
}

#include "norm.glsl"

void main() {
    const uint row = row_index();
    bool real = row < batch_rows();
    if (real) {
        uint id = batch[push.ids_at + row];
        real = id >= push.row_first && id - push.row_first < push.row_count;
    }
    norm_row(row, real);
}
