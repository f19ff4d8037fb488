// A step from noise to images: a linear combination whose coefficients stand in a table, one row for each place of the walk.
#pragma once
#include "common.cuh"
#include "space_to_depth.cuh"
#include "maps.cuh"

// Row of the table: x_0 from (x_t, output); x' from (x_t, x_0, the x_0 of the step before, output); sigma, or ln sigma2 = scale r + offset where `learned`.
struct Row {
    float x0_xt, x0_output, xt, x0, x0_before, output, sigma, scale, offset;
    u32 learned, noisy;
};

// Replaces x by x', and the previous step's x_0 in `predicted` by this step's. `out` has one output for each of the image's numbers, or two
// if it also predicts the variance; `state` is the network's next input. Noise: that of sample `first` + image at random step *place + 1.
template <class T>
__device__ void walk(const T *out, u32 outputs, u32 h, u32 w, u32 c, u32 block, u64 n, const Row *rows, const u64 *place, u32 clip,
                     u32 key0, u32 key1, u32 stream, const u64 *first, float *x, float *predicted, T *state) {
    u64 quad = THREAD;
    if (quad >= n / 4) return;
    SpaceToDepth from(h, w, c, block, outputs), to(h, w, c, block, 1);
    u32 len = h * w * c;
    u64 image = quad / (len / 4);
    out += image * from.len();
    state += image * to.len();
    Row row = rows[*place];
    float z[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    if (row.noisy) normals(random_words(key0, key1, stream, *place + 1, *first * (len / 4) + quad), z);
    for (u32 k = 0; k < 4; k++) {
        u64 i = quad * 4 + k;
        u32 own = (u32)(i - image * len);
        float y = number(out[from.at(own, 0)]), xt = x[i];
        // A factor of 0 leaves its term out: 0 times an infinite number is not a number.
        float x0 = (row.x0_xt == 0.0f ? 0.0f : row.x0_xt * xt) + (row.x0_output == 0.0f ? 0.0f : row.x0_output * y);
        if (clip) x0 = fminf(fmaxf(x0, -1.0f), 1.0f);
        float next = (row.xt == 0.0f ? 0.0f : row.xt * xt) + (row.x0 == 0.0f ? 0.0f : row.x0 * x0);
        if (row.x0_before != 0.0f) next += row.x0_before * predicted[i];
        if (row.output != 0.0f) next += row.output * y;
        if (row.noisy) {
            float sigma = row.learned ? expf(0.5f * (row.scale * number(out[from.at(own, 1)]) + row.offset)) : row.sigma;
            next += sigma * z[k];
        }
        x[i] = next;
        predicted[i] = x0;
        state[to.at(own, 0)] = element<T>(next);
    }
    to.fill(state, (u32)(quad % (len / 4)), len / 4);
}
#define WALK(T)                                                                                                                    \
    (const T *out, u32 outputs, u32 h, u32 w, u32 c, u32 block, u64 n, const Row *rows, const u64 *place, u32 clip, u32 key0,        \
     u32 key1, u32 stream, const u64 *first, float *x, float *predicted, T *state)
EACH_TYPE(walk, WALK, (out, outputs, h, w, c, block, n, rows, place, clip, key0, key1, stream, first, x, predicted, state))

// x_T of samples from *first on.
template <class T>
__device__ void start(u32 h, u32 w, u32 c, u32 block, u64 n, u32 key0, u32 key1, u32 stream, const u64 *first, float *x, T *state) {
    u64 quad = THREAD;
    if (quad >= n / 4) return;
    SpaceToDepth to(h, w, c, block, 1);
    u32 quads = h * w * c / 4, own = (u32)(quad % quads);
    state += quad / quads * to.len();
    float z[4];
    normals(random_words(key0, key1, stream, 0, *first * quads + quad), z);
    for (u32 k = 0; k < 4; k++) {
        x[quad * 4 + k] = z[k];
        state[to.at(own * 4 + k, 0)] = element<T>(z[k]);
    }
    to.fill(state, own, quads);
}
#define START(T) \
    (u32 h, u32 w, u32 c, u32 block, u64 n, u32 key0, u32 key1, u32 stream, const u64 *first, float *x, T *state)
EACH_TYPE(start, START, (h, w, c, block, n, key0, key1, stream, first, x, state))
