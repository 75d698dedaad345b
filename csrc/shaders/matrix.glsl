// matrix.glsl: what the kernels for matrix hardware (VK_KHR_cooperative_matrix) share. Included before common.glsl's bindings are used; f16 operands, sums in f32.

#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_KHR_shader_subgroup_basic : require

#define MATRIX_A(M, K) coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA>
#define MATRIX_B(K, N) coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB>
#define MATRIX_SUM(M, N) coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define MATRIX_HALF(M, N) coopmat<float16_t, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>

// The eight halves of a 16-byte word as the elements of a fragment.
#define SET_ELEMENTS(FRAGMENT, WORD)                              \
    {                                                             \
        const uvec4 word_ = (WORD);                               \
        f16vec2 pair_ = unpackFloat2x16(word_.x);                 \
        FRAGMENT[0] = pair_.x;                                    \
        FRAGMENT[1] = pair_.y;                                    \
        pair_ = unpackFloat2x16(word_.y);                         \
        FRAGMENT[2] = pair_.x;                                    \
        FRAGMENT[3] = pair_.y;                                    \
        pair_ = unpackFloat2x16(word_.z);                         \
        FRAGMENT[4] = pair_.x;                                    \
        FRAGMENT[5] = pair_.y;                                    \
        pair_ = unpackFloat2x16(word_.w);                         \
        FRAGMENT[6] = pair_.x;                                    \
        FRAGMENT[7] = pair_.y;                                    \
    }
