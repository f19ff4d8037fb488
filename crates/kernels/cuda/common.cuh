// What all kernels share: the two types of feature maps, groups of numbers that are moved at once, sums over a block, random words.
//
// The same source is compiled by nvcc for the GPU and, by a C++ compiler with emulation.h, for the CPU, where tests call it.
#pragma once

typedef unsigned int u32;
typedef unsigned long long u64;

#ifdef DDPM_EMULATION
#include "emulation.h"
#else
// What a block's threads share, as long as the launch says.
extern __shared__ __align__(16) float dynamic_shared[];
#define DYNAMIC_SHARED(name) float *name = dynamic_shared
#endif

// bfloat16 as its bits.
struct bf16 {
    unsigned short bits;
};

__device__ inline float number(float v) { return v; }
__device__ inline float number(bf16 v) { return __uint_as_float((u32)v.bits << 16); }

template <class T> __device__ inline T element(float v);
template <> __device__ inline float element<float>(float v) { return v; }
// Rounded to the nearest, ties to even; what is not a number stays so.
template <> __device__ inline bf16 element<bf16>(float v) {
    bf16 r;
#ifdef __CUDA_ARCH__
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r.bits) : "f"(v));
#else
    u32 bits = __float_as_uint(v);
    r.bits = v != v ? 0x7fff : (unsigned short)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
#endif
    return r;
}

// Channels that a thread moves at once.
#define PACK 8

template <class T, int W> struct alignas(sizeof(T) * W < 16 ? sizeof(T) * W : 16) Pack {
    T v[W];
};

template <class T, int W> __device__ inline void load(const T *from, float *to) {
    Pack<T, W> pack = *(const Pack<T, W> *)from;
    for (int i = 0; i < W; i++) to[i] = number(pack.v[i]);
}

template <class T, int W> __device__ inline void store(T *to, const float *from) {
    Pack<T, W> pack;
    for (int i = 0; i < W; i++) pack.v[i] = element<T>(from[i]);
    *(Pack<T, W> *)to = pack;
}

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// Sum of one number of each thread of a block, the same for every run; `scratch` has one number for each thread.
template <class S> __device__ inline S block_sum(S *scratch, S v) {
    __syncthreads();
    scratch[threadIdx.x] = v;
    __syncthreads();
    for (u32 n = blockDim.x; n > 1;) {
        u32 half = (n + 1) / 2;
        if (threadIdx.x < n - half) scratch[threadIdx.x] += scratch[threadIdx.x + half];
        n = half;
        __syncthreads();
    }
    return scratch[0];
}

// Philox4x32-10, and the random stream's counters: the same words as crates/kernels/src/random.
struct Words {
    u32 v[4];
};

__device__ inline Words random_words(u32 key0, u32 key1, u32 stream, u64 step, u64 block) {
    u32 c0 = (u32)block, c1 = (u32)step, c2 = stream | ((u32)(step >> 32) << 8), c3 = (u32)(block >> 32);
    for (int round = 0; round < 10; round++) {
        u64 p0 = (u64)0xD2511F53u * c0, p1 = (u64)0xCD9E8D57u * c2;
        c0 = (u32)(p1 >> 32) ^ c1 ^ key0;
        c2 = (u32)(p0 >> 32) ^ c3 ^ key1;
        c1 = (u32)p1;
        c3 = (u32)p0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    Words words = {{c0, c1, c2, c3}};
    return words;
}

__device__ inline double unit(u32 word) { return ((double)word + 0.5) / 4294967296.0; }

// Four numbers of N(0, 1) from four words: Box-Muller in double precision, rounded once.
__device__ inline void normals(Words words, float *out) {
    for (int i = 0; i < 4; i += 2) {
        double radius = sqrt(-2.0 * log(unit(words.v[i]))), s, c;
        sincos(6.283185307179586 * unit(words.v[i + 1]), &s, &c);
        out[i] = (float)(radius * c);
        out[i + 1] = (float)(radius * s);
    }
}

// A kernel for each type of feature maps. No block has more threads than this, and registers must suffice for at least two blocks: these
// kernels are memory-bound.
#define THREADS 256
#define EACH_TYPE(name, parameters, arguments)                                                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) name##_f32 parameters(float) { name<float> arguments; }               \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) name##_bf16 parameters(bf16) { name<bf16> arguments; }
