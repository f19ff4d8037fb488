// All kernels as one translation unit.
#include "common.cuh"
#include "frame.cuh"
#include "layers.cuh"
#include "maps.cuh"
#include "norm.cuh"
#include "sample.cuh"
#include "train.cuh"
