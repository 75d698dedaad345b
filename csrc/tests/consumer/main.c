/* The least that a user does: see what devices there are, normalise a vector on the CPU. */
#include <math.h>
#include <stdio.h>
#include <vkbert.h>

static int failed(const vkb_error *error) {
    fprintf(stderr, "consumer: %s\n", error->message);
    return 1;
}

int main(void) {
    vkb_error error;
    vkb_device *device;
    vkb_device_options options = {.struct_size = sizeof options, .selector = "cpu"};
    if (vkb_abi() != VKB_ABI) return fprintf(stderr, "consumer: header and library do not fit together\n"), 1;
    if (vkb_device_open(&options, &device, &error)) return failed(&error);

    const vkb_tensor table = {1, 2, VKB_LAYOUT_TABLE, VKB_F32};
    const float row[] = {3, 4};
    vkb_weights *weights;
    if (vkb_weights_create(device, &table, 1, &weights, &error) || vkb_weights_put(weights, 0, VKB_F32, 0, row, 2, &error) ||
        vkb_weights_seal(weights, NULL, &error))
        return failed(&error);

    const vkb_value values[] = {{VKB_PER_TOKEN, 2}, {VKB_PER_TOKEN, 2}};
    vkb_op embed = VKB_OP_INIT, normalize = VKB_OP_INIT;
    embed.kind = VKB_OP_EMBED;
    embed.output = 0;
    embed.weight = 0;
    embed.scale = 1;
    normalize.kind = VKB_OP_NORMALIZE;
    normalize.input = 0;
    normalize.output = 1;
    const vkb_op ops[] = {embed, normalize};
    const uint32_t output = 1, cu_seqlens[] = {0, 1};
    vkb_program_desc desc = {.struct_size = sizeof desc,
                             .value_count = 2,
                             .values = values,
                             .ops = ops,
                             .op_count = 2,
                             .output_count = 1,
                             .outputs = &output,
                             .max_tokens = 1,
                             .max_sequences = 1};
    vkb_program *program;
    if (vkb_program_create(weights, &desc, &program, &error)) return failed(&error);

    const int32_t id = 0;
    float vector[2];
    vkb_batch batch = {.struct_size = sizeof batch, .tokens = 1, .sequences = 1, .ids = &id, .cu_seqlens = cu_seqlens};
    vkb_output wanted = {vector, 2};
    if (vkb_program_run(program, &batch, &wanted, &error)) return failed(&error);
    vkb_device_close(device); /* any order */
    vkb_weights_destroy(weights);
    vkb_program_destroy(program);
    printf("vkbert %s: %.3f %.3f\n", vkb_version(), (double)vector[0], (double)vector[1]);
    return !(fabsf(vector[0] - 0.6f) < 1e-6f && fabsf(vector[1] - 0.8f) < 1e-6f);
}
