// gate_output.glsl: what becomes of a GATE's two halves (linear_gate.glsl), four columns at a time.

#include "linear_gate.glsl"

// What becomes of the products of columns n … n + 3 of either half.
vec4 gate_output(uint n, vec4 left, vec4 right) {
    if (push.bias_at != NONE) {
        left += vector4(push.bias_at + n);
        right += vector4(push.bias_at + push.output_width + n);
    }
    return activate(left) * right;
}
