#version 450
// LINEAR for few rows, where what counts is how many processors share the reading of W: K is split over LANES neighbours, no subgroup operation.
//
// A workgroup makes ROWS × COLUMNS · LOCAL_SIZE / LANES outputs. Neighbouring lanes read neighbouring 16-byte words of W and of x (x stays in the
// first-level cache); W is read once in all. Partial sums meet in shared memory.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "linear.glsl"

layout(constant_id = 7) const uint ROWS = 16;
layout(constant_id = 8) const uint COLUMNS = 2; // of an invocation
layout(constant_id = 9) const uint LANES = 32;  // that share a column: a power of two

const uint WIDTH = COLUMNS * LOCAL_SIZE / LANES; // columns of a workgroup: a multiple of four

shared float parts[ROWS * COLUMNS * LOCAL_SIZE]; // [row][column of an invocation][LOCAL_SIZE / LANES][lane, swapped about]

// Where lane l's part of an output lies. Sums run over l = 0, 1, …, whatever the row; the exclusive or makes neighbours read different banks.
uint place(uint row, uint column, uint l) {
    uint at = (row * COLUMNS + column % COLUMNS) * LOCAL_SIZE + column / COLUMNS * LANES;
    return at + (l ^ ((row * (WIDTH / 4) + column / 4) % LANES));
}

float whole(uint row, uint column) {
    float sum = 0.0;
    for (uint l = 0; l < LANES; l++) sum += parts[place(row, column, l)];
    return sum;
}

void main() {
    const uint t = gl_LocalInvocationIndex, lane = t % LANES;
    const uint row0 = gl_WorkGroupID.y * ROWS, column0 = gl_WorkGroupID.x * WIDTH;
    const uint column = column0 + t / LANES * COLUMNS;

    float sum[ROWS][COLUMNS];
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        [[unroll]] for (uint c = 0; c < COLUMNS; c++) sum[r][c] = 0.0;

    const uint k4s = push.input_stride >> 2;
    for (uint k4 = lane; k4 < k4s; k4 += LANES) {
        vec4 w[COLUMNS];
        [[unroll]] for (uint c = 0; c < COLUMNS; c++) w[c] = load_weight(column + c, k4);
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            vec4 a = load_input(row0 + r, k4);
            [[unroll]] for (uint c = 0; c < COLUMNS; c++)
                sum[r][c] = fma(w[c].w, a.w, fma(w[c].z, a.z, fma(w[c].y, a.y, fma(w[c].x, a.x, sum[r][c]))));
        }
    }
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        [[unroll]] for (uint c = 0; c < COLUMNS; c++) parts[place(r, column - column0 + c, lane)] = sum[r][c];
    barrier();

    for (uint i = t; i < ROWS * WIDTH / 4; i += LOCAL_SIZE) {
        uint r = i / (WIDTH / 4), c = i % (WIDTH / 4) * 4;
        vec4 products = vec4(whole(r, c), whole(r, c + 1), whole(r, c + 2), whole(r, c + 3));
        store_output(row0 + r, column0 + c, finish_output(row0 + r, column0 + c, products));
    }
}
