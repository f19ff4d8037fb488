// Softmax of attention, and what is between the dense layers of the time embedding.
#pragma once
#include "common.cuh"
#include "maps.cuh"

// Rows of n become softmax(scale row), in place. A block for each row.
template <class T> __device__ void softmax(T *x, u32 n, float scale) {
    DYNAMIC_SHARED(scratch);
    T *row = x + (u64)blockIdx.x * n;
    float largest = -INFINITY;
    for (u32 i = threadIdx.x; i < n; i += blockDim.x) largest = fmaxf(largest, number(row[i]));
    scratch[threadIdx.x] = largest;
    __syncthreads();
    for (u32 i = 0; i < blockDim.x; i++) largest = fmaxf(largest, scratch[i]);
    float sum = 0.0f;
    for (u32 i = threadIdx.x; i < n; i += blockDim.x) sum += expf(scale * (number(row[i]) - largest));
    sum = block_sum(scratch, sum);
    for (u32 i = threadIdx.x; i < n; i += blockDim.x) row[i] = element<T>(expf(scale * (number(row[i]) - largest)) / sum);
}
#define SOFTMAX(T) (T * x, u32 n, float scale)
EACH_TYPE(softmax, SOFTMAX, (x, n, scale))

// dp, the gradient of p = softmax(scale s), becomes that of s.
template <class T> __device__ void softmax_backward(const T *p, T *dp, u32 n, float scale) {
    DYNAMIC_SHARED(scratch);
    const T *row = p + (u64)blockIdx.x * n;
    T *d = dp + (u64)blockIdx.x * n;
    float sum = 0.0f;
    for (u32 i = threadIdx.x; i < n; i += blockDim.x) sum += number(row[i]) * number(d[i]);
    sum = block_sum(scratch, sum);
    for (u32 i = threadIdx.x; i < n; i += blockDim.x) d[i] = element<T>(scale * number(row[i]) * (number(d[i]) - sum));
}
#define SOFTMAX_BACKWARD(T) (const T *p, T *dp, u32 n, float scale)
EACH_TYPE(softmax_backward, SOFTMAX_BACKWARD, (p, dp, n, scale))

// Row t[i] - 1 of `table` for each of `batch` steps.
extern "C" __global__ void embed(const float *table, const u32 *t, u32 c, u64 n, float *out) {
    u64 i = THREAD;
    if (i < n) out[i] = table[(u64)(t[i / c] - 1) * c + i % c];
}

extern "C" __global__ void silu(const float *x, u64 n, float *y) {
    u64 i = THREAD;
    if (i < n) y[i] = x[i] * sigmoid(x[i]);
}

// dy, the gradient of silu(x), becomes that of x.
extern "C" __global__ void silu_backward(const float *x, u64 n, float *dy) {
    u64 i = THREAD;
    if (i >= n) return;
    float g = sigmoid(x[i]);
    dy[i] *= g * (1.0f + x[i] * (1.0f - g));
}
