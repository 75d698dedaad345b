#version 450
//! variant shared
//! variant subgroup -DSUBGROUP
// EMBED: scale · word[id] + position[pos] + type[type_id], then norm. The word table may be bound in blocks of rows, one dispatch each: a token
// whose row is in another block is left alone.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "rows.glsl"

// Tables have rows of output_stride elements.
// All three reads are always done, of a row that is there: one in a branch of its own would be waited for before the next.
vec4 source_row(uint row, uint c4) {
    const uint n4 = push.output_stride >> 2;
    const bool positions = (push.has_tables & 1u) != 0u, types = (push.has_tables & 2u) != 0u;
    row = min(row, batch[0] - 1u);
    const uint word = min(batch[push.ids_at + row] - push.row_first, push.row_count - 1u) * n4 + c4;
    const uint position = positions ? batch[push.positions_at + row] * n4 + c4 : 0u;
    const uint type = types ? batch[push.types_at + row] * n4 + c4 : 0u;
    const vec4 w = WEIGHT_F16 ? widen(weight2[word]) : uintBitsToFloat(weight4[word]);
    const vec4 p = WEIGHT_F16 ? widen(position2[position]) : uintBitsToFloat(position4[position]);
    const vec4 t = WEIGHT_F16 ? widen(type2[type]) : uintBitsToFloat(type4[type]);
    return push.scale * w + (positions ? p : vec4(0.0)) + (types ? t : vec4(0.0));
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
