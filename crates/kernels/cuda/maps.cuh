// Operations on whole feature maps other than convolutions: addition, resizing, sums, conversion.
#pragma once
#include "common.cuh"

#define THREAD ((u64)blockIdx.x * blockDim.x + threadIdx.x)

// Channels from..from + c of y's `total` get += bias + shift (a row for each image) + the parts a | b side by side (ca + cb = c, or none).
template <class T, int W>
__device__ inline void finish_packs(T *y, u32 total, u32 from, u32 c, u64 pixels_all, u32 pixels, const float *bias, const float *shift,
                                    const T *a, const T *b, u32 ca, u32 cb) {
    u64 packs = pixels_all * (c / W);
    for (u64 i = THREAD; i < packs; i += (u64)gridDim.x * blockDim.x) {
        u64 pixel = i / (c / W);
        u32 channel = (u32)(i % (c / W)) * W;
        float v[W], more[W];
        T *at = y + pixel * total + from + channel;
        load<T, W>(at, v);
        for (int k = 0; k < W; k++) v[k] += bias[channel + k];
        if (shift) {
            for (int k = 0; k < W; k++) v[k] += shift[pixel / pixels * c + channel + k];
        }
        if (a) {
            load<T, W>(channel < ca ? a + pixel * ca + channel : b + pixel * cb + (channel - ca), more);
            for (int k = 0; k < W; k++) v[k] += more[k];
        }
        store<T, W>(at, v);
    }
}
template <class T>
__device__ void finish(T *y, u32 total, u32 from, u32 c, u64 pixels_all, u32 pixels, const float *bias, const float *shift, const T *a,
                       const T *b, u32 ca, u32 cb) {
    if (c % PACK == 0 && ca % PACK == 0)
        finish_packs<T, PACK>(y, total, from, c, pixels_all, pixels, bias, shift, a, b, ca, cb);
    else
        finish_packs<T, 1>(y, total, from, c, pixels_all, pixels, bias, shift, a, b, ca, cb);
}
#define FINISH(T)                                                                                                           \
    (T * y, u32 total, u32 from, u32 c, u64 pixels_all, u32 pixels, const float *bias, const float *shift, const T *a, const T *b, \
     u32 ca, u32 cb)
EACH_TYPE(finish, FINISH, (y, total, from, c, pixels_all, pixels, bias, shift, a, b, ca, cb))

// Channels from..from + c of dy's `total` to `out`, written or added.
template <class T> __device__ void take_channels(const T *dy, u32 total, u32 from, u32 c, u64 pixels, T *out, u32 add) {
    u64 n = pixels * c;
    for (u64 i = THREAD; i < n; i += (u64)gridDim.x * blockDim.x) {
        float v = number(dy[i / c * total + from + i % c]);
        out[i] = element<T>(add ? number(out[i]) + v : v);
    }
}
#define TAKE_CHANNELS(T) (const T *dy, u32 total, u32 from, u32 c, u64 pixels, T *out, u32 add)
EACH_TYPE(take_channels, TAKE_CHANNELS, (dy, total, from, c, pixels, out, add))

// One row and one column of zeros at the bottom and the right: [B, h, w, c] to [B, h + 1, w + 1, c].
template <class T> __device__ void pad(const T *x, u32 h, u32 w, u32 c, u64 n, T *y) {
    for (u64 i = THREAD; i < n; i += (u64)gridDim.x * blockDim.x) {
        u64 pixel = i / c, column = pixel % (w + 1), row = pixel / (w + 1) % (h + 1), image = pixel / (w + 1) / (h + 1);
        y[i] = row < h && column < w ? x[((image * h + row) * w + column) * c + i % c] : element<T>(0.0f);
    }
}
#define PAD(T) (const T *x, u32 h, u32 w, u32 c, u64 n, T *y)
EACH_TYPE(pad, PAD, (x, h, w, c, n, y))

// The gradient of pad: n numbers of [B, h, w, c], written or added.
template <class T> __device__ void crop(const T *dy, u32 h, u32 w, u32 c, u64 n, T *dx, u32 add) {
    for (u64 i = THREAD; i < n; i += (u64)gridDim.x * blockDim.x) {
        u64 pixel = i / c, column = pixel % w, row = pixel / w % h, image = pixel / w / h;
        float v = number(dy[((image * (h + 1) + row) * (w + 1) + column) * c + i % c]);
        dx[i] = element<T>(add ? number(dx[i]) + v : v);
    }
}
#define CROP(T) (const T *dy, u32 h, u32 w, u32 c, u64 n, T *dx, u32 add)
EACH_TYPE(crop, CROP, (dy, h, w, c, n, dx, add))

// Each pixel of [B, h, w, c] four times: n numbers of [B, 2 h, 2 w, c].
template <class T> __device__ void upsample(const T *x, u32 h, u32 w, u32 c, u64 n, T *y) {
    for (u64 i = THREAD; i < n; i += (u64)gridDim.x * blockDim.x) {
        u64 pixel = i / c, column = pixel % (2 * w), row = pixel / (2 * w) % (2 * h), image = pixel / (2 * w) / (2 * h);
        y[i] = x[((image * h + row / 2) * w + column / 2) * c + i % c];
    }
}
#define UPSAMPLE(T) (const T *x, u32 h, u32 w, u32 c, u64 n, T *y)
EACH_TYPE(upsample, UPSAMPLE, (x, h, w, c, n, y))

// The gradient of upsample: n numbers of [B, h, w, c], written or added.
template <class T> __device__ void upsample_backward(const T *dy, u32 h, u32 w, u32 c, u64 n, T *dx, u32 add) {
    for (u64 i = THREAD; i < n; i += (u64)gridDim.x * blockDim.x) {
        u64 pixel = i / c, column = pixel % w, row = pixel / w % h, image = pixel / w / h;
        const T *at = dy + ((image * 2 * h + 2 * row) * 2 * w + 2 * column) * c + i % c;
        float v = (number(at[0]) + number(at[c])) + (number(at[(u64)2 * w * c]) + number(at[(u64)2 * w * c + c]));
        dx[i] = element<T>(add ? number(dx[i]) + v : v);
    }
}
#define UPSAMPLE_BACKWARD(T) (const T *dy, u32 h, u32 w, u32 c, u64 n, T *dx, u32 add)
EACH_TYPE(upsample_backward, UPSAMPLE_BACKWARD, (dy, h, w, c, n, dx, add))

// Where the four pixels of a block of 2x2 begin in an image of w columns, row by row.
__device__ inline void block_corners(u64 first, u32 w, u32 c, u64 *corners) {
    corners[0] = first;
    corners[1] = first + c;
    corners[2] = first + (u64)w * c;
    corners[3] = first + (u64)w * c + c;
}

// One number for each block of 2x2 of [B, 2 h, 2 w, c]: n numbers of [B, h, w, c]. The mean, or the largest.
template <class T> __device__ void pool(const T *x, u32 h, u32 w, u32 c, u64 n, T *y, u32 largest) {
    for (u64 i = THREAD; i < n; i += (u64)gridDim.x * blockDim.x) {
        u64 pixel = i / c, column = pixel % w, row = pixel / w % h, image = pixel / w / h, at[4];
        block_corners(((image * 2 * h + 2 * row) * 2 * w + 2 * column) * c + i % c, 2 * w, c, at);
        float v[4];
        for (int k = 0; k < 4; k++) v[k] = number(x[at[k]]);
        float most = v[0];
        for (int k = 1; k < 4; k++) most = v[k] > most || v[k] != v[k] ? v[k] : most;
        y[i] = element<T>(largest ? most : ((v[0] + v[1]) + (v[2] + v[3])) * 0.25f);
    }
}
#define POOL(T) (const T *x, u32 h, u32 w, u32 c, u64 n, T *y, u32 largest)
EACH_TYPE(pool, POOL, (x, h, w, c, n, y, largest))

// The gradient of pool, written or added: a thread for each of the n numbers of dy [B, h, w, c]. Where x, what was pooled, is given, all of
// it goes to the first of the largest.
template <class T> __device__ void pool_backward(const T *x, const T *dy, u32 h, u32 w, u32 c, u64 n, T *dx, u32 add) {
    for (u64 i = THREAD; i < n; i += (u64)gridDim.x * blockDim.x) {
        u64 pixel = i / c, column = pixel % w, row = pixel / w % h, image = pixel / w / h, at[4];
        block_corners(((image * 2 * h + 2 * row) * 2 * w + 2 * column) * c + i % c, 2 * w, c, at);
        int first = 0;
        if (x)
            for (int k = 1; k < 4; k++) {
                float v = number(x[at[k]]);
                first = v > number(x[at[first]]) || v != v ? k : first;
            }
        for (int k = 0; k < 4; k++) {
            float v = x ? (k == first ? number(dy[i]) : 0.0f) : number(dy[i]) * 0.25f;
            dx[at[k]] = element<T>(add ? number(dx[at[k]]) + v : v);
        }
    }
}
#define POOL_BACKWARD(T) (const T *x, const T *dy, u32 h, u32 w, u32 c, u64 n, T *dx, u32 add)
EACH_TYPE(pool_backward, POOL_BACKWARD, (x, dy, h, w, c, n, dx, add))

// Sums over an image's pixels of channels from..from + c of dy's `total`: [B][c]. A block for 32 channels of an image.
template <class T> __device__ void pixel_sums(const T *dy, u32 total, u32 from, u32 c, u32 pixels, float *out) {
    DYNAMIC_SHARED(sums);
    u32 lane = threadIdx.x % 32, row = threadIdx.x / 32, rows = blockDim.x / 32, channel = blockIdx.x * 32 + lane;
    float sum = 0.0f;
    if (channel < c)
        for (u32 p = row; p < pixels; p += rows) sum += number(dy[((u64)blockIdx.y * pixels + p) * total + from + channel]);
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (row == 0 && channel < c) {
        for (u32 r = 1; r < rows; r++) sum += sums[r * 32 + lane];
        out[(u64)blockIdx.y * c + channel] = sum;
    }
}
#define PIXEL_SUMS(T) (const T *dy, u32 total, u32 from, u32 c, u32 pixels, float *out)
EACH_TYPE(pixel_sums, PIXEL_SUMS, (dy, total, from, c, pixels, out))

// Sums over rows: [rows][n] to [n].
extern "C" __global__ void row_sums(const float *x, u32 rows, u32 n, float *out) {
    u64 i = THREAD;
    if (i >= n) return;
    float sum = 0.0f;
    for (u32 row = 0; row < rows; row++) sum += x[(u64)row * n + i];
    out[i] = sum;
}

extern "C" __global__ void widen(const bf16 *x, u64 n, float *y) {
    for (u64 i = THREAD; i < n; i += (u64)gridDim.x * blockDim.x) y[i] = number(x[i]);
}

extern "C" __global__ void narrow(const float *x, u64 n, bf16 *y) {
    for (u64 i = THREAD; i < n; i += (u64)gridDim.x * blockDim.x) y[i] = element<bf16>(x[i]);
}
