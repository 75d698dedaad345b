/*
 * ATTENTION on the CPU. A task is one head over one chunk of a sequence's queries: the keys that the chunk can see are copied into panels,
 * then for each tile of queries scores, softmax and weighted sum, each through the same product kernel as LINEAR. The scores of one tile of
 * queries are all that is ever there.
 *
 * Whatever depends on the distance of two rows alone (distance bias, ALiBi, window, causal) is laid out once a task, in a line; a query's
 * biases are the part of that line that begins where the query stands. The disentangled scores are products of the queries and of the keys
 * with the rows of a table in the order of that line. So with n = the keys of the chunk, c = its queries, key row j and query row i of the
 * chunk, the first query being row b, meet at place j − i + b + c − 1 of n + c − 1: `place_of`.
 */
#include <math.h>
#include <string.h>

#include "cpu.h"

typedef struct attention {
    const vkb_cpu_program *p;
    const vkb_op *op;
    const float *qkv; /* [T, q|k|v] */
    float *out;       /* [T, heads·d] */
    size_t qkv_stride, out_stride;
    vkb_cpu_heads heads;
    bool lined; /* there is a line */
} attention;

/* Where a worker's scratch holds what, in floats from its start; n = keys of a chunk, rounded up to 16, d = head size, p = all
 * places, with room. */
typedef struct layout {
    uint64_t values;    /* [n, d rounded up to 16]: where they lie, each row would be on another page */
    uint64_t scores;    /* [tile_rows, n] */
    uint64_t line;      /* [p] */
    uint64_t table;     /* [p / 16, d, 16]: a table's rows, place by place */
    uint64_t positions; /* [tile_rows, p]: of a tile of queries with the table's rows */
    uint64_t types;     /* [VKB_CPU_QUERIES, n]: of the chunk's queries and all keys */
    uint64_t end;
} layout; /* at 0: keys [n / 16, d, 16] */

typedef struct task { /* rows count from the chunk's first key */
    const attention *a;
    const float *q, *k; /* of that row and this head */
    uint32_t row;       /* that row, in the batch */
    uint32_t head, keys, begin, count;
    uint64_t places; /* as many as are laid out: keys + count − 1, and what kernels that work on 16 at a time read beyond */
    layout at;
    float *scratch;
} task;

#define NEAR_BY(p) (&(vkb_cpu_ahead){.at = (const char *)(p)}) /* nothing is to be fetched */

static uint64_t padded(uint64_t n) { return vkb_align_up(n, VKB_CPU_PANEL); }

static bool has_line(const vkb_op *op) { return op->weight != VKB_NONE || op->bias != VKB_NONE || op->window || op->flags; }

/* False: overflow. */
static bool lay_out(const vkb_op *op, uint32_t tile_rows, uint32_t d, uint64_t n, layout *at) {
    uint64_t places = padded(n + VKB_CPU_QUERIES) + VKB_CPU_PANEL; /* d < 2⁹ and n ≤ 2³¹, so that no single piece overflows */
    bool positions = op->position_table != VKB_NONE, types = op->type_table != VKB_NONE;
    at->values = n * d;
    at->scores = at->values + n * padded(d);
    at->line = at->scores + n * tile_rows;
    at->table = at->line + (has_line(op) ? places : 0);
    at->positions = at->table + (positions || types ? places * d : 0);
    at->types = at->positions + (positions ? places * tile_rows : 0);
    at->end = at->types + (types ? n * VKB_CPU_QUERIES : 0);
    return at->end <= SIZE_MAX / sizeof(float);
}

bool vkb_cpu_attention_scratch(const vkb_cpu_program *p, const vkb_op *op, uint64_t *floats) {
    layout at;
    bool fits = lay_out(op, p->kernels->tile_rows, vkb_cpu_heads_of(&p->base, op).size, padded(p->base.max_tokens), &at);
    *floats = at.end;
    return fits;
}

typedef float float4 __attribute__((vector_size(16), aligned(4), may_alias));

/* Columns 0 … d − 1 of 4 rows, side by side: to[16·j + i] = rows[i][j] */
static void transpose4(const float *const rows[4], uint32_t d, float *to) {
    uint32_t j = 0;
    for (; j + 4 <= d; j += 4) {
        float4 a = *(const float4 *)(rows[0] + j), b = *(const float4 *)(rows[1] + j), c = *(const float4 *)(rows[2] + j),
               e = *(const float4 *)(rows[3] + j);
        for (int i = 0; i < 4; i++) *(float4 *)(to + (j + i) * VKB_CPU_PANEL) = (float4){a[i], b[i], c[i], e[i]};
    }
    for (; j < d; j++)
        for (int i = 0; i < 4; i++) to[j * VKB_CPU_PANEL + i] = rows[i][j];
}

/* Keys into panels and values into rows. Every row of q|k|v is on another page, which no processor looks ahead for by itself: without the
   prefetches this takes a third of the op. q: the rows that will be the queries, or NULL. */
static void pack(const float *q, const float *k, const float *v, size_t stride, uint32_t tokens, uint32_t d, float *panels, float *values) {
    static const float zeros[VKB_MAX_HEAD];
    size_t room = padded(d);
    for (uint32_t first = 0; first < tokens; first += 4) {
        const float *rows[4];
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t row = first + i, ahead = row + 16;
            rows[i] = row < tokens ? k + row * stride : zeros;
            if (ahead < tokens) {
                vkb_cpu_prefetch(k + ahead * stride, d * sizeof *k);
                vkb_cpu_prefetch(v + ahead * stride, d * sizeof *v);
                if (q) vkb_cpu_prefetch(q + ahead * stride, d * sizeof *q);
            }
            if (row >= tokens) continue;
            memcpy(values + row * room, v + row * stride, d * sizeof *v);
            memset(values + row * room + d, 0, (room - d) * sizeof *v);
        }
        transpose4(rows, d, panels + (size_t)(first / VKB_CPU_PANEL) * VKB_CPU_PANEL * d + first % VKB_CPU_PANEL);
    }
    for (uint32_t first = (tokens + 3) / 4 * 4; first % VKB_CPU_PANEL; first += 4) { /* what is missing of the last panel */
        const float *const rows[4] = {zeros, zeros, zeros, zeros};
        transpose4(rows, d, panels + (size_t)(first / VKB_CPU_PANEL) * VKB_CPU_PANEL * d + first % VKB_CPU_PANEL);
    }
}

/* ---- What depends on the distance of two rows ---- */

static size_t place_of(const task *t, uint32_t query, uint32_t key) { return (size_t)t->begin + t->count - 1 - query + key; }
/* j − i of the rows that meet at a place */
static int64_t distance_at(const task *t, uint64_t place) { return (int64_t)place - ((int64_t)t->begin + t->count - 1); }

/* The entry of a table of 2R + 1 that holds `distance`. */
static uint32_t entry_of(int64_t distance, uint32_t entries) {
    int64_t radius = entries / 2;
    if (distance < -radius) return 0;
    return (uint32_t)(distance > radius ? 2 * radius : distance + radius);
}

static void fill_line(const task *t) {
    const vkb_cpu_program *p = t->a->p;
    const vkb_op *op = t->a->op;
    const float *slopes = vkb_cpu_tensor(p, op->bias);
    float *line = t->scratch + t->at.line;
    for (uint64_t i = 0; i < t->places; i++) {
        int64_t distance = distance_at(t, i), apart = distance < 0 ? -distance : distance;
        line[i] = slopes ? -slopes[t->head] * (float)apart : 0;
        if (op->weight != VKB_NONE) {
            float bias;
            vkb_cpu_table_row(p, op->weight, t->head, entry_of(distance, p->base.weights->tensors[op->weight].cols), 1, &bias);
            line[i] += bias;
        }
        if ((op->window && apart > op->window) || (op->flags & VKB_FLAG_CAUSAL && distance > 0)) line[i] = -INFINITY;
    }
}

/* This head's columns of a table of i − j, in panels of places. */
static void pack_table(const task *t, uint32_t table) {
    const vkb_cpu_program *p = t->a->p;
    uint32_t d = t->a->heads.size, entries = p->base.weights->tensors[table].rows;
    float *panels = t->scratch + t->at.table, row[VKB_MAX_HEAD];
    uint32_t last = UINT32_MAX; /* far from the middle one row is at many places */
    for (uint64_t i = 0; i < t->places; i++) {
        uint32_t entry = entry_of(-distance_at(t, i), entries);
        if (entry != last) vkb_cpu_table_row(p, table, entry, t->head * d, d, row);
        last = entry;
        float *to = panels + i / VKB_CPU_PANEL * VKB_CPU_PANEL * d + i % VKB_CPU_PANEL;
        for (uint32_t j = 0; j < d; j++) to[j * VKB_CPU_PANEL] = row[j];
    }
}

/* c[r][i] = x[r]·(the table's row at place first + i); first: a multiple of 16 */
static void table_products(const task *t, uint32_t rows, const float *x, size_t first, size_t count, float *c, size_t c_stride) {
    uint32_t d = t->a->heads.size;
    for (size_t i = 0; i < count; i += VKB_CPU_PANEL)
        t->a->p->kernels->tile(rows, x, t->a->qkv_stride, t->scratch + t->at.table + (first + i) * d, VKB_CPU_PANEL, d, c + i, c_stride,
                               NEAR_BY(x));
}

/* scores[r][j] += the product of query row `query` + r and the table, for keys first … end − 1 */
static void add_positions(const task *t, uint32_t query, uint32_t rows, uint32_t first, uint32_t end, float *scores, size_t stride) {
    size_t begin = place_of(t, query + rows - 1, first) / VKB_CPU_PANEL * VKB_CPU_PANEL, count = place_of(t, query, end) - begin;
    float *products = t->scratch + t->at.positions;
    size_t width = padded(count);
    table_products(t, rows, t->q + query * t->a->qkv_stride, begin, count, products, width);
    for (uint32_t r = 0; r < rows; r++) {
        const float *row = products + r * width + (place_of(t, query + r, first) - begin);
        for (uint32_t j = first; j < end; j++) scores[r * stride + j] += row[j - first];
    }
}

/* types[i][j], i < count, j < keys: the product of key row j and the table. Tiles are of keys: a tile's places are few. */
static void fill_types(const task *t, size_t stride) {
    enum { WIDTH = VKB_CPU_QUERIES + VKB_CPU_MAX_TILE + 2 * VKB_CPU_PANEL };
    float products[VKB_CPU_MAX_TILE * WIDTH], *types = t->scratch + t->at.types;
    uint32_t step = t->a->p->kernels->tile_rows;
    for (uint32_t key = 0; key < t->keys; key += step) {
        uint32_t rows = t->keys - key < step ? t->keys - key : step;
        size_t begin = place_of(t, t->begin + t->count - 1, key) / VKB_CPU_PANEL * VKB_CPU_PANEL;
        table_products(t, rows, t->k + key * t->a->qkv_stride, begin, place_of(t, t->begin, key + rows) - begin, products, WIDTH);
        for (uint32_t i = 0; i < t->count; i++)
            for (uint32_t r = 0; r < rows; r++)
                types[i * stride + key + r] = products[r * WIDTH + (place_of(t, t->begin + i, key + r) - begin)];
    }
}

/* ---- The op ---- */

/* Queries `query` … `query` + rows − 1, which between them see keys first … end − 1; first: a multiple of 16. */
static void attend_tile(const task *t, uint32_t query, uint32_t rows, uint32_t first, uint32_t end) {
    const attention *a = t->a;
    const vkb_cpu_kernels *kernels = a->p->kernels;
    uint32_t d = a->heads.size;
    size_t n = padded(t->keys), stride = a->qkv_stride;
    float *scores = t->scratch + t->at.scores;
    const float *keys = t->scratch, *v = t->scratch + t->at.values, *q = t->q + query * stride;
    for (size_t j = first; j < end; j += VKB_CPU_PANEL)
        kernels->tile(rows, q, stride, keys + j * d, VKB_CPU_PANEL, d, scores + j, n, NEAR_BY(q));
    if (a->op->type_table != VKB_NONE)
        for (uint32_t r = 0; r < rows; r++) {
            const float *types = t->scratch + t->at.types + (query - t->begin + r) * n;
            for (uint32_t j = first; j < end; j++) scores[r * n + j] += types[j];
        }
    if (a->op->position_table != VKB_NONE) add_positions(t, query, rows, first, end, scores, n);

    float inverse[VKB_CPU_MAX_TILE];
    for (uint32_t r = 0; r < rows; r++) {
        const float *bias = a->lined ? t->scratch + t->at.line + place_of(t, query + r, first) : NULL;
        inverse[r] = 1 / kernels->softmax(scores + r * n + first, bias, end - first, a->op->scale);
    }
    for (uint32_t j = 0; j < d; j += VKB_CPU_PANEL) {
        float c[VKB_CPU_MAX_TILE * VKB_CPU_PANEL];
        kernels->tile(rows, scores + first, n, v + first * padded(d) + j, padded(d), end - first, c, VKB_CPU_PANEL, NEAR_BY(scores));
        uint32_t columns = d - j < VKB_CPU_PANEL ? d - j : VKB_CPU_PANEL;
        for (uint32_t r = 0; r < rows; r++) {
            float *y = a->out + ((size_t)t->row + query + r) * a->out_stride + (size_t)t->head * d + j;
            for (uint32_t i = 0; i < columns; i++) y[i] = c[r * VKB_CPU_PANEL + i] * inverse[r];
        }
    }
}

/* The rows that rows begin … begin + count − 1 of `total` can see. */
static void seen_by(const vkb_op *op, uint32_t begin, uint32_t count, uint32_t total, uint32_t *first, uint32_t *end) {
    uint32_t after = begin + count;
    *first = op->window && begin > op->window ? begin - op->window : 0;
    *end = op->window && total - after > op->window ? after + op->window : total;
    if (op->flags & VKB_FLAG_CAUSAL) *end = after;
}

static void attention_task(void *context, uint32_t number, uint32_t worker) {
    const attention *a = context;
    const vkb_op *op = a->op;
    const vkb_cpu_chunk *chunk = &a->p->chunks[number / a->heads.heads];
    uint32_t d = a->heads.size, head = number % a->heads.heads, kv_head = head / (a->heads.heads / a->heads.kv_heads), first, end;
    seen_by(op, chunk->begin - chunk->first, chunk->count, chunk->end - chunk->first, &first, &end);
    first += chunk->first;
    end += chunk->first;

    size_t stride = a->qkv_stride;
    const float *row = a->qkv + first * stride;
    task t = {.a = a,
              .q = row + (size_t)head * d,
              .k = row + ((size_t)a->heads.heads + kv_head) * d,
              .row = first,
              .head = head,
              .keys = end - first,
              .begin = chunk->begin - first,
              .count = chunk->count,
              .scratch = vkb_cpu_scratch(a->p, worker)};
    t.places = padded((uint64_t)t.keys + t.count) + VKB_CPU_PANEL;
    lay_out(op, a->p->kernels->tile_rows, d, padded(t.keys), &t.at);

    const float *v = t.k + (size_t)a->heads.kv_heads * d;
    pack(chunk->count == t.keys ? t.q : NULL, t.k, v, stride, t.keys, d, t.scratch, t.scratch + t.at.values);
    if (a->lined) fill_line(&t);
    if (op->type_table != VKB_NONE) {
        pack_table(&t, op->type_table);
        fill_types(&t, padded(t.keys));
    }
    if (op->position_table != VKB_NONE) pack_table(&t, op->position_table);
    for (uint32_t done = 0, rows; done < t.count; done += rows) {
        rows = vkb_cpu_tile_height(t.count - done, a->p->kernels->tile_rows);
        seen_by(op, t.begin + done, rows, t.keys, &first, &end);
        attend_tile(&t, t.begin + done, rows, first / VKB_CPU_PANEL * VKB_CPU_PANEL, end);
    }
}

void vkb_cpu_attention(const vkb_cpu_program *p, const vkb_op *op) {
    attention a = {.p = p,
                   .op = op,
                   .qkv = vkb_cpu_value(p, op->input),
                   .qkv_stride = p->base.slots[op->input].stride,
                   .out = vkb_cpu_value(p, op->output),
                   .out_stride = p->base.slots[op->output].stride,
                   .heads = vkb_cpu_heads_of(&p->base, op),
                   .lined = has_line(op)};
    vkb_cpu_pool_run(p->pool, p->chunk_count * op->heads, attention_task, &a);
}
