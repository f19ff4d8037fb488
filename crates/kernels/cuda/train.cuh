// A training step beside the network: images and noise in, the loss's gradient, the optimiser's update. The step's number is on the
// device, so that one recorded step can be run again and again.
#pragma once
#include "common.cuh"
#include "space_to_depth.cuh"
#include "maps.cuh"

// What a step t adds to the objective; a row of `terms` for each t.
struct Terms {
    double noisy_x0, noisy_eps, target_x0, target_eps, error_weight, mean_xt, mean_output, truth_xt, truth_x0, log_posterior, scale, offset;
    __device__ Terms(const double *row)
        : noisy_x0(row[0]), noisy_eps(row[1]), target_x0(row[2]), target_eps(row[3]), error_weight(row[4]), mean_xt(row[5]),
          mean_output(row[6]), truth_xt(row[7]), truth_x0(row[8]), log_posterior(row[9]), scale(row[10]), offset(row[11]) {}
};

// x_0, eps, t and x_t of a shard: image i of it is image first + i of the batch. A thread for four numbers.
// `order`: the images of two epochs, even and odd, [2][count]; the epoch of a position is position / count.
template <class T>
__device__ void batch(const unsigned char *images, const u32 *order, u32 count, u32 h, u32 w, u32 c, u32 block, u32 flip, u32 key0,
                      u32 key1, u32 flips, u32 timesteps, u32 noise, const double *terms, u32 row_len, u32 last_t, const u64 *step,
                      u32 batch_size, u32 first, u32 shard, float *x0, float *eps, u32 *t, T *xt) {
    u32 len = h * w * c, quads = len / 4;
    u64 quad = THREAD;
    if (quad >= (u64)shard * quads) return;
    SpaceToDepth layout(h, w, c, block, 1);
    u32 i = (u32)(quad / quads), own = (u32)(quad % quads), at = own * 4;
    u64 sample = (u64)first + i, position = *step * batch_size + sample;
    const unsigned char *image = images + (u64)order[position / count % 2 * count + position % count] * len;
    bool mirror = flip && random_words(key0, key1, flips, *step, sample / 4).v[sample % 4] & 1;
    u32 word = random_words(key0, key1, timesteps, *step, sample / 4).v[sample % 4];
    u32 own_t = 1 + (u32)(((u64)word * last_t) >> 32);
    if (at == 0) t[i] = own_t;
    const double *row = terms + (u64)own_t * row_len;
    float z[4], a = (float)row[0], s = (float)row[1];
    normals(random_words(key0, key1, noise, *step, (sample * len + at) / 4), z);
    T *map = xt + i * layout.len();
    for (u32 k = 0; k < 4; k++) {
        u32 place = at + k, channel = place % c, column = place / c % w, line = place / c / w;
        u32 from = mirror ? (line * w + (w - 1 - column)) * c + channel : place;
        float clean = (float)image[from] / 127.5f - 1.0f;
        u64 out = (u64)i * len + place;
        x0[out] = clean;
        eps[out] = z[k];
        map[layout.at(place, 0)] = element<T>(clean * a + z[k] * s);
    }
    layout.fill(map, own, quads);
}
#define BATCH(T)                                                                                                                    \
    (const unsigned char *images, const u32 *order, u32 count, u32 h, u32 w, u32 c, u32 block, u32 flip, u32 key0, u32 key1,          \
     u32 flips, u32 timesteps, u32 noise, const double *terms, u32 row_len, u32 last_t, const u64 *step, u32 batch_size, u32 first,   \
     u32 shard, float *x0, float *eps, u32 *t, T *xt)
EACH_TYPE(batch, BATCH,
          (images, order, count, h, w, c, block, flip, key0, key1, flips, timesteps, noise, terms, row_len, last_t, step, batch_size,
           first, shard, x0, eps, t, xt))

// The authors' normal distribution function and its derivative; 0 or 1 to the last digit, and flat, beyond 12.
__device__ inline double tanh_cdf(double z, double *slope) {
    double root = 0.7978845608028654, limited = fmin(fmax(z, -12.0), 12.0);
    double th = tanh(root * (limited + 0.044715 * limited * limited * limited));
    *slope = limited == z ? 0.5 * (1.0 - th * th) * root * (1.0 + 3.0 * 0.044715 * z * z) : 0.0;
    return 0.5 * (1.0 + th);
}

// -ln p(x | mean, sigma) of the discretised decoder, floored as the authors', with its derivatives by mean and by ln sigma.
__device__ inline double decoder(double x, double mean, double log_sigma, double *by_mean, double *by_log_sigma) {
    double inverse = exp(-log_sigma), above = (x - mean + 1.0 / 255.0) * inverse, below = (x - mean - 1.0 / 255.0) * inverse;
    double upper = 1.0, lower = 0.0, upper_slope = 0.0, lower_slope = 0.0;
    if (x <= 0.999) upper = tanh_cdf(above, &upper_slope);
    if (x >= -0.999) lower = tanh_cdf(below, &lower_slope);
    double p = upper - lower;
    if (p <= 1e-12) {
        *by_mean = *by_log_sigma = 0.0;
        return -log(1e-12);
    }
    *by_mean = inverse * (upper_slope - lower_slope) / p;
    *by_log_sigma = (above * upper_slope - below * lower_slope) / p;
    return -log(p);
}

// The objective of an output and its gradient: the weighted squared error of the prediction, plus `bound` times the bound's term in bits,
// whose gradient reaches the mean if `through_mean`. Writes each image's mean over its numbers to `losses` and the gradient of the
// shard's mean to `dout`. In double, so that small differences of the distribution function stay accurate. One block per image.
template <class T>
__device__ void objective(const T *out, const float *x0, const float *eps, const u32 *t, const double *terms, u32 row_len, u32 h, u32 w,
                          u32 c, u32 block, u32 outputs, u32 shard, double bound, u32 through_mean, double *losses, T *dout) {
    DYNAMIC_SHARED(scratch);
    SpaceToDepth layout(h, w, c, block, outputs);
    u32 len = h * w * c, own_t = t[blockIdx.x];
    Terms row(terms + (u64)own_t * row_len);
    x0 += (u64)blockIdx.x * len;
    eps += (u64)blockIdx.x * len;
    out += blockIdx.x * layout.len();
    dout += blockIdx.x * layout.len();
    double scale = 1.0 / ((double)len * shard), bits = bound / 0.6931471805599453, sum = 0.0;
    for (u32 i = threadIdx.x; i < len; i += blockDim.x) {
        u64 at = layout.at(i, 0);
        double y = number(out[at]), error = y - (row.target_x0 * x0[i] + row.target_eps * eps[i]);
        double loss = row.error_weight * error * error, by_y = 2.0 * row.error_weight * error, by_second = 0.0;
        if (bound != 0.0) {
            double xt = row.noisy_x0 * x0[i] + row.noisy_eps * eps[i], mean = row.mean_xt * xt + row.mean_output * y;
            double log_sigma2 = row.offset, by_mean, by_log_sigma2;
            if (outputs == 2) log_sigma2 += row.scale * number(out[layout.at(i, 1)]);
            if (own_t == 1) {
                double by_log_sigma;
                loss += bits * decoder(x0[i], mean, 0.5 * log_sigma2, &by_mean, &by_log_sigma);
                by_log_sigma2 = 0.5 * by_log_sigma;
            } else {
                // (e^d - 1 - d + (truth - mean)^2 e^-log_sigma2) / 2 with d = log_posterior - log_sigma2
                double off = row.truth_xt * xt + row.truth_x0 * x0[i] - mean, inverse = exp(-log_sigma2);
                double d = row.log_posterior - log_sigma2, grown = expm1(d);
                loss += bits * 0.5 * (grown - d + off * off * inverse);
                by_mean = -off * inverse;
                by_log_sigma2 = -0.5 * (grown + off * off * inverse);
            }
            if (through_mean) by_y += bits * row.mean_output * by_mean;
            by_second = bits * row.scale * by_log_sigma2;
        }
        sum += loss;
        dout[at] = element<T>((float)(scale * by_y));
        if (outputs == 2) dout[layout.at(i, 1)] = element<T>((float)(scale * by_second));
    }
    layout.fill(dout, threadIdx.x, blockDim.x);
    sum = block_sum((double *)scratch, sum);
    if (threadIdx.x == 0) losses[blockIdx.x] = sum / len;
}
#define OBJECTIVE(T)                                                                                                             \
    (const T *out, const float *x0, const float *eps, const u32 *t, const double *terms, u32 row_len, u32 h, u32 w, u32 c, u32 block, \
     u32 outputs, u32 shard, double bound, u32 through_mean, double *losses, T *dout)
EACH_TYPE(objective, OBJECTIVE,
          (out, x0, eps, t, terms, row_len, h, w, c, block, outputs, shard, bound, through_mean, losses, dout))

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

// Adam, the moving averages, and the weights in bf16 where `narrowed` is not null. `rates`: the learning rate of each step. `rows`: weights,
// first moments, second moments and as many averages as `decays` says, each of n. Every block makes the few factors for itself.
extern "C" __global__ void adam(float *rows, const float *gradient, u64 n, const double *rates, const u64 *step, double beta1, double beta2,
                                double epsilon, u32 corrected, const float *decays, u32 averages, bf16 *narrowed) {
    DYNAMIC_SHARED(f);
    if (threadIdx.x == 0) {
        double k = (double)(*step + 1), c1 = 1.0 - pow(beta1, k), c2 = sqrt(1.0 - pow(beta2, k)), rate = rates[*step];
        f[0] = (float)(corrected ? rate / c1 : rate * c2 / c1);
        f[1] = (float)(corrected ? 1.0 / c2 : 1.0);
    }
    __syncthreads();
    bool first = *step == 0;
    float b1 = (float)beta1, b2 = (float)beta2, e = (float)epsilon, *theta = rows, *m = rows + n, *v = rows + 2 * n;
    for (u64 i = THREAD; i < n; i += (u64)gridDim.x * blockDim.x) {
        float g = gradient[i];
        m[i] = b1 * m[i] + (1.0f - b1) * g;
        v[i] = b2 * v[i] + (1.0f - b2) * g * g;
        theta[i] -= f[0] * m[i] / (sqrtf(v[i]) * f[1] + e);
        for (u32 k = 0; k < averages; ++k) {
            float *average = rows + (3 + k) * n, decay = first ? 0.0f : decays[k];
            average[i] = decay * average[i] + (1.0f - decay) * theta[i];
        }
        if (narrowed) narrowed[i] = element<bf16>(theta[i]);
    }
}

extern "C" __global__ void advance(u64 *step) { *step += 1; }

// Every number of a row of n u32 becomes v[*place * stride].
extern "C" __global__ void fill_from(const u32 *v, u32 stride, const u64 *place, u32 n, u32 *out) {
    u64 i = THREAD;
    if (i < n) out[i] = v[*place * stride];
}
