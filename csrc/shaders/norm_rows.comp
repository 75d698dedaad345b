#version 450
//! variant shared
//! variant subgroup -DSUBGROUP
// NORM: norm(x + residual), or norm(x) + residual; in place allowed.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "rows.glsl"

vec4 source_row(uint row, uint c4) {
    vec4 v = load_x4(row * (push.input_stride >> 2) + c4);
    return push.residual_stride != 0u && push.residual_at != AFTER_NORM ? v + load_residual4(row * (push.residual_stride >> 2) + c4) : v;
}

#include "norm.glsl"

void main() { norm_row(row_index(), row_index() < batch_rows()); }
