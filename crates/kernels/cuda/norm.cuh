// GroupNorm over one or two feature maps side by side, with SiLU and dropout after it: one block for some whole groups of an image.
// Statistics are taken in two passes, mean first, in f32.
#pragma once
#include "common.cuh"

// Where dropout's words come from; p 0 drops nothing.
struct Drop {
    u32 key0, key1, stream;
    // Numbers below it are dropped.
    u32 below;
    float keep;
    u64 step, first;
};

__device__ inline void drop(const Drop &d, u64 index, float *v) {
    for (int half = 0; half < PACK; half += 4) {
        Words words = random_words(d.key0, d.key1, d.stream, d.step, (index + half) / 4);
        for (int i = 0; i < 4; i++) v[half + i] *= words.v[i] < d.below ? 0.0f : d.keep;
    }
}

// A block's share: `slab` channels of one image, lanes of PACK channels times rows of pixels.
struct Share {
    u32 image, from, lanes, lane, rows, row;
    __device__ Share(u32 slab) {
        image = blockIdx.y;
        from = blockIdx.x * slab;
        lanes = slab / PACK;
        lane = threadIdx.x % lanes;
        rows = blockDim.x / lanes;
        row = threadIdx.x / lanes;
    }
};

// A thread's channels in one of two feature maps.
template <class T> struct Part {
    T *at;
    u32 stride;
    bool add;
    __device__ Part(const T *a, const T *b, u32 ca, u32 cb, u32 image, u32 pixels, u32 c, u32 adds) {
        bool first = c < ca;
        stride = first ? ca : cb;
        at = (T *)(first ? a : b) + (u64)image * pixels * stride + (first ? c : c - ca);
        add = (first ? adds & 1 : adds & 2) != 0;
    }
};

// Sums over the block's rows of each channel of the slab, to sums[0..slab].
__device__ inline void channel_sums(float *sums, const Share &s, u32 slab, const float *v) {
    __syncthreads();
    for (int i = 0; i < PACK; i++) sums[s.row * slab + s.lane * PACK + i] = v[i];
    __syncthreads();
    for (u32 c = threadIdx.x; c < slab; c += blockDim.x) {
        float sum = 0.0f;
        for (u32 row = 0; row < s.rows; row++) sum += sums[row * slab + c];
        sums[c] = sum;
    }
    __syncthreads();
}

// For each of the thread's channels the sum over its group of `per_channel`.
__device__ inline void group_sums(const float *per_channel, const Share &s, u32 group, float *out) {
    for (int i = 0; i < PACK; i++) {
        u32 first = (s.lane * PACK + i) / group * group;
        if (i > 0 && first == (s.lane * PACK + i - 1) / group * group) {
            out[i] = out[i - 1];
            continue;
        }
        float sum = 0.0f;
        for (u32 c = first; c < first + group; c++) sum += per_channel[c];
        out[i] = sum;
    }
}

// `step`: the training step, followed by an image offset in its batch that is added to `first`.
// y = drop(silu(norm(a | b))). `statistics`: mean and 1 / standard deviation of each group, [B][C / group][2], written, or read where `again`.
template <class T>
__device__ void norm_forward(const T *a, const T *b, u32 ca, u32 cb, const float *gamma, const float *beta, float *statistics, T *y,
                             u32 pixels, u32 group, u32 slab, float epsilon, u32 silu, u32 again, u32 key0, u32 key1, u32 stream,
                             u32 below, float keep, const u64 *step, u32 layers, u32 layer, u32 first) {
    DYNAMIC_SHARED(sums);
    Share s(slab);
    u32 total = ca + cb, c = s.from + s.lane * PACK;
    Part<T> part(a, b, ca, cb, s.image, pixels, c, 0);
    float mean[PACK], scale[PACK], v[PACK], sum[PACK];
    float share = 1.0f / ((float)pixels * (float)group);
    float *kept = statistics + (u64)s.image * (total / group) * 2;
    if (again) {
        for (int i = 0; i < PACK; i++) {
            mean[i] = kept[(c + i) / group * 2];
            scale[i] = kept[(c + i) / group * 2 + 1];
        }
    } else {
        for (int i = 0; i < PACK; i++) sum[i] = 0.0f;
        for (u32 p = s.row; p < pixels; p += s.rows) {
            load<T, PACK>(part.at + (u64)p * part.stride, v);
            for (int i = 0; i < PACK; i++) sum[i] += v[i];
        }
        channel_sums(sums, s, slab, sum);
        group_sums(sums, s, group, mean);
        for (int i = 0; i < PACK; i++) {
            mean[i] *= share;
            sum[i] = 0.0f;
        }
        for (u32 p = s.row; p < pixels; p += s.rows) {
            load<T, PACK>(part.at + (u64)p * part.stride, v);
            for (int i = 0; i < PACK; i++) sum[i] += (v[i] - mean[i]) * (v[i] - mean[i]);
        }
        channel_sums(sums, s, slab, sum);
        group_sums(sums, s, group, scale);
        for (int i = 0; i < PACK; i++) {
            scale[i] = 1.0f / sqrtf(scale[i] * share + epsilon);
            if (s.row == 0 && (c + i) % group == 0) {
                kept[(c + i) / group * 2] = mean[i];
                kept[(c + i) / group * 2 + 1] = scale[i];
            }
        }
    }
    Drop d = {key0, key1, stream, below, keep, below ? step[0] * layers + layer : 0, below ? step[1] + first : 0};
    for (u32 p = s.row; p < pixels; p += s.rows) {
        load<T, PACK>(part.at + (u64)p * part.stride, v);
        for (int i = 0; i < PACK; i++) {
            v[i] = (v[i] - mean[i]) * scale[i] * gamma[c + i] + beta[c + i];
            if (silu) v[i] *= sigmoid(v[i]);
        }
        u64 place = (u64)p * total + c;
        if (below) drop(d, (d.first + s.image) * ((u64)pixels * total) + place, v);
        store<T, PACK>(y + (u64)s.image * pixels * total + place, v);
    }
}
#define NORM_FORWARD(T)                                                                                                           \
    (const T *a, const T *b, u32 ca, u32 cb, const float *gamma, const float *beta, float *statistics, T *y, u32 pixels, u32 group, \
     u32 slab, float epsilon, u32 silu, u32 again, u32 key0, u32 key1, u32 stream, u32 below, float keep, const u64 *step,         \
     u32 layers, u32 layer, u32 first)
EACH_TYPE(norm_forward, NORM_FORWARD,
          (a, b, ca, cb, gamma, beta, statistics, y, pixels, group, slab, epsilon, silu, again, key0, key1, stream, below, keep, step,
           layers, layer, first))

// From dz, the gradient of norm_forward's result: that of a and b (written, or added where bit 0 or 1 of `adds` is set), and each
// image's part of gamma's and beta's, [B][2][C].
template <class T>
__device__ void norm_backward(const T *a, const T *b, u32 ca, u32 cb, const float *gamma, const float *beta, const float *statistics,
                              const T *dz, T *da, T *db, u32 adds, float *partial, u32 pixels, u32 group, u32 slab, u32 silu, u32 key0,
                              u32 key1, u32 stream, u32 below, float keep, const u64 *step, u32 layers, u32 layer, u32 first) {
    DYNAMIC_SHARED(sums);
    Share s(slab);
    u32 total = ca + cb, c = s.from + s.lane * PACK;
    Part<T> part(a, b, ca, cb, s.image, pixels, c, 0), to(da, db, ca, cb, s.image, pixels, c, adds);
    float mean[PACK], scale[PACK], dgamma[PACK], dbeta[PACK], x[PACK], d[PACK];
    const float *kept = statistics + (u64)s.image * (total / group) * 2;
    for (int i = 0; i < PACK; i++) {
        mean[i] = kept[(c + i) / group * 2];
        scale[i] = kept[(c + i) / group * 2 + 1];
        dgamma[i] = dbeta[i] = 0.0f;
    }
    Drop dropping = {key0, key1, stream, below, keep, below ? step[0] * layers + layer : 0, below ? step[1] + first : 0};
    u64 image = (u64)s.image * pixels * total;
    float mean_d[PACK], mean_dx[PACK];
    for (int pass = 0; pass < 2; pass++) {
        for (u32 p = s.row; p < pixels; p += s.rows) {
            u64 place = (u64)p * total + c;
            load<T, PACK>(part.at + (u64)p * part.stride, x);
            load<T, PACK>(dz + image + place, d);
            if (below) drop(dropping, (dropping.first + s.image) * ((u64)pixels * total) + place, d);
            for (int i = 0; i < PACK; i++) {
                x[i] = (x[i] - mean[i]) * scale[i];
                if (silu) {
                    float u = x[i] * gamma[c + i] + beta[c + i], g = sigmoid(u);
                    d[i] *= g * (1.0f + u * (1.0f - g));
                }
            }
            if (pass == 0) {
                for (int i = 0; i < PACK; i++) {
                    dgamma[i] += d[i] * x[i];
                    dbeta[i] += d[i];
                }
                continue;
            }
            float dx[PACK];
            T *out = to.at + (u64)p * to.stride;
            if (to.add) load<T, PACK>(out, dx);
            for (int i = 0; i < PACK; i++) {
                float v = scale[i] * (d[i] * gamma[c + i] - mean_d[i] - x[i] * mean_dx[i]);
                dx[i] = to.add ? dx[i] + v : v;
            }
            store<T, PACK>(out, dx);
        }
        if (pass == 1) break;
        // Each channel's sums are that image's gradients of beta and gamma; weighted by gamma, the group's two means.
        float share = 1.0f / ((float)pixels * (float)group);
        for (int which = 0; which < 2; which++) {
            channel_sums(sums, s, slab, which == 0 ? dbeta : dgamma);
            for (u32 i = threadIdx.x; i < slab; i += blockDim.x) {
                partial[((u64)s.image * 2 + (which == 0 ? 1 : 0)) * total + s.from + i] = sums[i];
                sums[i] *= gamma[s.from + i];
            }
            __syncthreads();
            float *means = which == 0 ? mean_d : mean_dx;
            group_sums(sums, s, group, means);
            for (int i = 0; i < PACK; i++) means[i] *= share;
        }
    }
}
#define NORM_BACKWARD(T)                                                                                                          \
    (const T *a, const T *b, u32 ca, u32 cb, const float *gamma, const float *beta, const float *statistics, const T *dz, T *da, T *db, \
     u32 adds, float *partial, u32 pixels, u32 group, u32 slab, u32 silu, u32 key0, u32 key1, u32 stream, u32 below, float keep,    \
     const u64 *step, u32 layers, u32 layer, u32 first)
EACH_TYPE(norm_backward, NORM_BACKWARD,
          (a, b, ca, cb, gamma, beta, statistics, dz, da, db, adds, partial, pixels, group, slab, silu, key0, key1, stream, below, keep,
           step, layers, layer, first))
