// All kernels as one translation unit.
#include "common.cuh"
#include "space_to_depth.cuh"
#include "layers.cuh"
#include "maps.cuh"
#include "norm.cuh"
#include "sample.cuh"
#include "train.cuh"
