// Layout of images in the network's first and last feature maps: each block of pixels becomes one pixel, whose channels are ordered by row
// in the block, column in the block, output and channel; zero channels pad the last pack.
#pragma once
#include "common.cuh"

struct SpaceToDepth {
    u32 w, c, block, outputs, used, stride, pixels;
    __device__ SpaceToDepth(u32 h, u32 w, u32 c, u32 block, u32 outputs) : w(w), c(c), block(block), outputs(outputs) {
        used = block * block * outputs * c;
        stride = (used + PACK - 1) / PACK * PACK;
        pixels = h / block * (w / block);
    }
    // Numbers of an image's feature map.
    __device__ u64 len() const { return (u64)pixels * stride; }
    // Where output `output` of the image's number `place` stands.
    __device__ u64 at(u32 place, u32 output) const {
        u32 channel = place % c, column = place / c % w, row = place / c / w;
        u32 pixel = row / block * (w / block) + column / block;
        return (u64)pixel * stride + ((row % block * block + column % block) * outputs + output) * c + channel;
    }
    // Zeros to the channels that only fill a pack, by `threads` threads.
    template <class T> __device__ void fill(T *image, u32 thread, u32 threads) const {
        for (u32 p = thread; p < pixels; p += threads)
            for (u32 i = used; i < stride; i++) image[(u64)p * stride + i] = element<T>(0.0f);
    }
};
