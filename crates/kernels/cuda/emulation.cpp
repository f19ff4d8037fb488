// The kernels by their names, for the emulation.
#define DDPM_EMULATION
#include <utility>
#include "kernels.cu"

struct Kernel {
    const char *name;
    int arguments;
    void (*call)(void **);
};
#define ONE(name) {#name, emulation::count(name), [](void **args) { emulation::call(name, args); }}
#define BOTH(name) ONE(name##_f32), ONE(name##_bf16)

static const Kernel kernels[] = {
    BOTH(norm_forward), BOTH(norm_backward), BOTH(finish), BOTH(take_channels), BOTH(pad), BOTH(crop), BOTH(upsample),
    BOTH(upsample_backward), BOTH(pixel_sums), ONE(row_sums), ONE(widen), ONE(narrow), BOTH(softmax), BOTH(softmax_backward), ONE(embed),
    BOTH(pool), BOTH(pool_backward),
    ONE(silu), ONE(silu_backward), BOTH(batch), BOTH(objective), ONE(squares), ONE(clip), ONE(add_scaled), ONE(adam), ONE(advance),
    ONE(fill_from), BOTH(walk), BOTH(start),
};

// Returns 0, or 1 if there is no such kernel, 2 if the number of arguments is wrong, 3 if some threads wait at a barrier forever.
extern "C" int ddpm_emulated_launch(const char *name, unsigned gx, unsigned gy, unsigned threads, unsigned shared, void **args, int count) {
    for (const Kernel &kernel : kernels)
        if (!strcmp(kernel.name, name)) {
            if (kernel.arguments != count) return 2;
            return emulation::launch(kernel.call, gx, gy, threads, shared, args) ? 0 : 3;
        }
    return 1;
}
