// The parts of CUDA C++ that C++ lacks, so that the kernels' own source runs on a CPU: every thread of a block is a fiber, and blocks run
// one after another. For tests: indices, sums and barriers behave as on the GPU, speed does not.
#pragma once
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <ucontext.h>
#include <vector>

#define __device__
#define __global__
#define __launch_bounds__(...)

struct Index {
    unsigned x, y, z;
};

namespace emulation {
// A thread of a block. Fibers are reused from block to block: starting one takes a system call, resuming one does not.
struct Fiber {
    ucontext_t start;
    jmp_buf here;
    std::vector<char> stack;
    bool begun = false, ended = true;
};
inline thread_local Index thread, block, threads, blocks;
inline thread_local float *shared;
inline thread_local std::deque<Fiber> fibers;
inline thread_local jmp_buf scheduler;
inline thread_local unsigned current;
inline thread_local void (*body)(void **);
inline thread_local void **arguments;

// From a fiber back to the scheduler, until it goes on with this fiber.
__attribute__((noinline)) inline void yield() {
    if (!_setjmp(fibers[current].here)) _longjmp(scheduler, 1);
}

inline void live() {
    for (;;) {
        body(arguments);
        fibers[current].ended = true;
        yield();
    }
}

// From the scheduler to fiber `current`, until it yields.
__attribute__((noinline)) inline void go_on() {
    if (_setjmp(scheduler)) return;
    Fiber &fiber = fibers[current];
    if (fiber.begun) _longjmp(fiber.here, 1);
    fiber.begun = true;
    fiber.stack.resize(1 << 16);
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack.data();
    fiber.start.uc_stack.ss_size = fiber.stack.size();
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, live, 0);
    setcontext(&fiber.start);
}

// One block: each fiber runs to its next barrier or its end, in turn. False where some wait at a barrier that others never reach.
inline bool run_block(unsigned n) {
    for (unsigned i = 0; i < n; i++) fibers[i].ended = false;
    for (;;) {
        unsigned ended = 0;
        for (current = 0; current < n; current++) {
            if (!fibers[current].ended) {
                thread = {current, 0, 0};
                go_on();
            }
            ended += fibers[current].ended;
        }
        if (ended == n) return true;
        // Those that wait would go on in the middle of another kernel.
        if (ended != 0) return fibers.clear(), false;
    }
}

inline bool launch(void (*kernel)(void **), unsigned gx, unsigned gy, unsigned n, unsigned shared_bytes, void **args) {
    std::vector<float> memory(shared_bytes / 4 + 4);
    shared = memory.data();
    while ((uintptr_t)shared % 16) shared++;
    body = kernel;
    arguments = args;
    threads = {n, 1, 1};
    blocks = {gx, gy, 1};
    while (fibers.size() < n) fibers.emplace_back();
    for (unsigned y = 0; y < gy; y++)
        for (unsigned x = 0; x < gx; x++) {
            block = {x, y, 0};
            // What an earlier block left in shared memory is not to be relied on.
            for (float &v : memory) v = NAN;
            if (!run_block(n)) return false;
        }
    return true;
}

// A kernel's typed call from untyped arguments.
template <class... A, size_t... I> void unpack(void (*kernel)(A...), void **args, std::index_sequence<I...>) {
    kernel(*(A *)args[I]...);
}
template <class... A> void call(void (*kernel)(A...), void **args) { unpack(kernel, args, std::index_sequence_for<A...>()); }
template <class... A> int count(void (*)(A...)) { return sizeof...(A); }
} // namespace emulation

#define threadIdx emulation::thread
#define blockIdx emulation::block
#define blockDim emulation::threads
#define gridDim emulation::blocks
#define DYNAMIC_SHARED(name) float *name = emulation::shared

inline void __syncthreads() { emulation::yield(); }

inline float __uint_as_float(unsigned v) {
    float f;
    memcpy(&f, &v, 4);
    return f;
}
inline unsigned __float_as_uint(float f) {
    unsigned v;
    memcpy(&v, &f, 4);
    return v;
}
