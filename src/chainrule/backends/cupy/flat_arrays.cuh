// Flat arrays of one length, each element read once and written once, 16 bytes at a time: slices of arenas.
//
// Of an ensemble each member has such arrays, `..._stride` elements from those of the next: it is a row of the grid.

// What all of these kernels have in common: elements in packs of 16 bytes, dealt to all threads of the grid in turns,
// then the rest one by one. If an array does not start on a 16-byte border, all of it is done one by one.
struct Share {
  i64 packs, first, step;
  __device__ __forceinline__ Share(i64 size, bool aligned)
      : packs(aligned ? size / per_access<REAL> : 0),
        first((i64)blockIdx.x * blockDim.x + threadIdx.x),
        step((i64)gridDim.x * blockDim.x) {}
};

typedef Pack<REAL, per_access<REAL>> Reals;

__device__ __forceinline__ const Reals& pack(const REAL* p, i64 i) { return ((const Reals*)p)[i]; }
__device__ __forceinline__ Reals& pack(REAL* p, i64 i) { return ((Reals*)p)[i]; }
