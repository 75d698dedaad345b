// usage: nvrtc SOURCE CUBIN OPTION…
// The program that NVRTC lacks: compiles a file of CUDA C++ to a cubin, padded with zeros to a multiple of four bytes. What the
// compiler has to say, errors with file and line, goes to standard error. build/nvrtc.sh builds it.
#include <nvrtc.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(const char *what, const char *why) {
    fprintf(stderr, "nvrtc: %s: %s\n", what, why);
    return 1;
}

// read_text returns the text of a file, to be freed, or NULL.
static char *read_text(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    char *text = NULL;
    long size = fseek(file, 0, SEEK_END) ? -1 : ftell(file);
    rewind(file);
    if (size >= 0) text = calloc((size_t)size + 1, 1);
    if (text && fread(text, 1, (size_t)size, file) != (size_t)size) {
        free(text);
        text = NULL;
    }
    fclose(file);
    return text;
}

static void print_log(nvrtcProgram program) {
    size_t size = 0;
    if (nvrtcGetProgramLogSize(program, &size) || size <= 1) return;
    char *log = malloc(size);
    if (log && !nvrtcGetProgramLog(program, log)) fputs(log, stderr);
    free(log);
}

// The process ends after one file, which frees the rest.
int main(int count, char **args) {
    if (count < 3) return fail("usage", "nvrtc SOURCE CUBIN OPTION...");
    const char *source = args[1], *target = args[2];
    char *text = read_text(source);
    if (!text) return fail(source, "cannot be read");

    nvrtcProgram program;
    nvrtcResult result = nvrtcCreateProgram(&program, text, source, 0, NULL, NULL);
    if (result) return fail(source, nvrtcGetErrorString(result));
    result = nvrtcCompileProgram(program, count - 3, (const char *const *)args + 3);
    print_log(program);
    size_t size = 0;
    if (!result) result = nvrtcGetCUBINSize(program, &size);
    if (result) return fail(source, nvrtcGetErrorString(result));

    size_t padded = (size + 3) & ~(size_t)3;
    char *cubin = calloc(padded, 1);
    if (!cubin) return fail(source, "out of memory");
    result = nvrtcGetCUBIN(program, cubin);
    if (result) return fail(source, nvrtcGetErrorString(result));
    FILE *file = fopen(target, "wb");
    if (!file || fwrite(cubin, 1, padded, file) != padded || fclose(file)) return fail(target, "cannot be written");
    return 0;
}
