// A training step beside the network: images and noise in, the loss's gradient, the optimiser's update. The step's number is on the
// device, so that one recorded step can be run again and again.
#pragma once
#include "common.cuh"
#include "maps.cuh"

// x_0, eps, t and x_t of a shard: image i of it is image first + i of the batch. A thread for four numbers.
// `order`: the images of this epoch and the next one, [2][count]; the epoch of a position is position / count.
template <class T>
__device__ void batch(const unsigned char *images, const u32 *order, u32 count, u32 h, u32 w, u32 c, u32 flip, u32 key0, u32 key1,
                      u32 flips, u32 timesteps, u32 noise, const float *signal_and_noise, u32 last_t, const u64 *step, u32 batch_size,
                      u32 first, u32 shard, float *x0, float *eps, u32 *t, T *xt) {
    u32 len = h * w * c;
    u64 quad = THREAD;
    if (quad >= (u64)shard * (len / 4)) return;
    u32 i = (u32)(quad / (len / 4)), at = (u32)(quad % (len / 4)) * 4;
    u64 sample = (u64)first + i, position = *step * batch_size + sample;
    const unsigned char *image = images + (u64)order[position / count % 2 * count + position % count] * len;
    bool mirror = flip && random_words(key0, key1, flips, *step, sample / 4).v[sample % 4] & 1;
    u32 word = random_words(key0, key1, timesteps, *step, sample / 4).v[sample % 4];
    u32 own_t = 1 + (u32)(((u64)word * last_t) >> 32);
    if (at == 0) t[i] = own_t;
    float z[4], a = signal_and_noise[2 * own_t], s = signal_and_noise[2 * own_t + 1];
    normals(random_words(key0, key1, noise, *step, (sample * len + at) / 4), z);
    for (u32 k = 0; k < 4; k++) {
        u32 place = at + k, channel = place % c, column = place / c % w, row = place / c / w;
        u32 from = mirror ? (row * w + (w - 1 - column)) * c + channel : place;
        float clean = (float)image[from] / 127.5f - 1.0f;
        u64 out = (u64)i * len + place;
        x0[out] = clean;
        eps[out] = z[k];
        xt[out] = element<T>(clean * a + z[k] * s);
    }
}
#define BATCH(T)                                                                                                                    \
    (const unsigned char *images, const u32 *order, u32 count, u32 h, u32 w, u32 c, u32 flip, u32 key0, u32 key1, u32 flips,          \
     u32 timesteps, u32 noise, const float *signal_and_noise, u32 last_t, const u64 *step, u32 batch_size, u32 first, u32 shard,      \
     float *x0, float *eps, u32 *t, T *xt)
EACH_TYPE(batch, BATCH,
          (images, order, count, h, w, c, flip, key0, key1, flips, timesteps, noise, signal_and_noise, last_t, step, batch_size, first,
           shard, x0, eps, t, xt))

// The mean squared error of an output for a (t) x_0 + b (t) eps: an image's mean to `losses`, the gradient of the shard's mean to
// `dout`. A block for each image.
template <class T>
__device__ void squared_error(const T *out, const float *x0, const float *eps, const u32 *t, const float *target, u32 len, u32 shard,
                              double *losses, T *dout) {
    DYNAMIC_SHARED(scratch);
    u64 image = (u64)blockIdx.x * len;
    u32 own_t = t[blockIdx.x];
    float a = target[2 * own_t], b = target[2 * own_t + 1], scale = 2.0f / ((float)len * (float)shard);
    double sum = 0.0;
    for (u32 i = threadIdx.x; i < len; i += blockDim.x) {
        float d = number(out[image + i]) - (x0[image + i] * a + eps[image + i] * b);
        sum += (double)d * d;
        dout[image + i] = element<T>(scale * d);
    }
    sum = block_sum((double *)scratch, sum);
    if (threadIdx.x == 0) losses[blockIdx.x] = sum / len;
}
#define SQUARED_ERROR(T)                                                                                                    \
    (const T *out, const float *x0, const float *eps, const u32 *t, const float *target, u32 len, u32 shard, double *losses, T *dout)
EACH_TYPE(squared_error, SQUARED_ERROR, (out, x0, eps, t, target, len, shard, losses, dout))

// Each block's sum of squares.
extern "C" __global__ void squares(const float *x, u64 n, double *partial) {
    DYNAMIC_SHARED(scratch);
    double sum = 0.0;
    for (u64 i = THREAD; i < n; i += (u64)gridDim.x * blockDim.x) sum += (double)x[i] * x[i];
    sum = block_sum((double *)scratch, sum);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// One block: the factor that clips a shard's gradient to `limit` and averages over `shards`, and what is told of the shard: its
// gradient's squared norm and the mean of its images' losses, to told[step % ring][shard][2].
extern "C" __global__ void clip(const double *partial, u32 n, const double *losses, u32 images, double limit, u32 shard, u32 shards,
                                const u64 *step, u32 ring, double *told, float *factor) {
    DYNAMIC_SHARED(scratch);
    double square = 0.0, loss = 0.0;
    for (u32 i = threadIdx.x; i < n; i += blockDim.x) square += partial[i];
    for (u32 i = threadIdx.x; i < images; i += blockDim.x) loss += losses[i];
    square = block_sum((double *)scratch, square);
    loss = block_sum((double *)scratch, loss);
    if (threadIdx.x != 0) return;
    double norm = sqrt(square), share = limit > 0.0 && norm > limit ? limit / norm : 1.0;
    *factor = (float)(share / shards);
    told[((*step % ring) * shards + shard) * 2] = square;
    told[((*step % ring) * shards + shard) * 2 + 1] = loss / images;
}

// sum (+)= factor numbers.
extern "C" __global__ void add_scaled(const float *numbers, u64 n, const float *factor, u32 add, float *sum) {
    for (u64 i = THREAD; i < n; i += (u64)gridDim.x * blockDim.x) sum[i] = (add ? sum[i] : 0.0f) + *factor * numbers[i];
}

// Adam, the moving average, and the weights in bf16 where `narrowed` is not null. `rates`: the learning rate of each step. `rows`: weights,
// first moments, second moments, average, each of n. Every block makes the few factors for itself.
extern "C" __global__ void adam(float *rows, const float *gradient, u64 n, const double *rates, const u64 *step, double beta1, double beta2,
                                double epsilon, u32 corrected, double ema_decay, bf16 *narrowed) {
    DYNAMIC_SHARED(f);
    if (threadIdx.x == 0) {
        double k = (double)(*step + 1), c1 = 1.0 - pow(beta1, k), c2 = sqrt(1.0 - pow(beta2, k)), rate = rates[*step];
        f[0] = (float)(corrected ? rate / c1 : rate * c2 / c1);
        f[1] = (float)(corrected ? 1.0 / c2 : 1.0);
        f[2] = *step == 0 ? 0.0f : (float)ema_decay;
    }
    __syncthreads();
    float b1 = (float)beta1, b2 = (float)beta2, e = (float)epsilon, *theta = rows, *m = rows + n, *v = rows + 2 * n, *ema = rows + 3 * n;
    for (u64 i = THREAD; i < n; i += (u64)gridDim.x * blockDim.x) {
        float g = gradient[i];
        m[i] = b1 * m[i] + (1.0f - b1) * g;
        v[i] = b2 * v[i] + (1.0f - b2) * g * g;
        theta[i] -= f[0] * m[i] / (sqrtf(v[i]) * f[1] + e);
        ema[i] = f[2] * ema[i] + (1.0f - f[2]) * theta[i];
        if (narrowed) narrowed[i] = element<bf16>(theta[i]);
    }
}

extern "C" __global__ void advance(u64 *step) { *step += 1; }

// Every number of a row of n u32 becomes v[*place * stride].
extern "C" __global__ void fill_from(const u32 *v, u32 stride, const u64 *place, u32 n, u32 *out) {
    u64 i = THREAD;
    if (i < n) out[i] = v[*place * stride];
}
