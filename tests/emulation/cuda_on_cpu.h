// Runs CUDA C++ kernels on the CPU, for tests: threadIdx, __shared__, __syncthreads, warp shuffles and atomics.
//
// Blocks run one after another. The threads of a block are coroutines of one thread, switched where they wait for each
// other: fast enough for the whole contract test. With -DON_CPU_THREADS each is a std::thread, so that ThreadSanitizer
// sees a missing barrier as the race that it is. No PTX, no cooperative groups, no dynamic shared memory; blocks are a
// multiple of 32 threads, as every kernel that shuffles is launched.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>
#ifdef ON_CPU_THREADS                               // each header that is not read is a tenth of a second per source
#include <barrier>
#include <thread>
#elif !defined(__x86_64__)
#define ON_CPU_UCONTEXT
#endif
#ifdef ON_CPU_UCONTEXT
#include <ucontext.h>
#endif

struct dim3 { unsigned x = 1, y = 1, z = 1; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) double2 { double x, y; };

namespace on_cpu {

struct Index { dim3 thread, block; unsigned linear; };

#ifdef ON_CPU_THREADS

inline thread_local Index index;
struct Meeting {                                   // a point where `live` threads wait for each other
  std::barrier<> barrier;
  explicit Meeting(unsigned live) : barrier(live) {}
  void wait() { barrier.arrive_and_wait(); }
  void leave() { barrier.arrive_and_drop(); }
};

#else

inline Index index;                                // of the coroutine that runs
constexpr size_t STACK = 1 << 16;

// Where a coroutine, or what started it, goes on. swapcontext asks the kernel for the signal mask each time, which
// costs more than what a thread does between two barriers: it is left to sanitizers, which know it, and other CPUs.
#ifdef ON_CPU_UCONTEXT
using Place = ucontext_t;
inline void go(Place& from, Place& to) { swapcontext(&from, &to); }
inline void prepare(Place& place, char* stack, void (*start)()) {
  getcontext(&place);
  place.uc_stack.ss_sp = stack;
  place.uc_stack.ss_size = STACK;
  place.uc_link = nullptr;
  makecontext(&place, start, 0);
}
#else
using Place = void*;                               // the stack, with the registers that a call keeps on top
extern "C" __attribute__((visibility("hidden"))) void on_cpu_go(Place* from, Place to);
asm(R"(
  .text
  .globl on_cpu_go
  .hidden on_cpu_go
  .type on_cpu_go, @function
on_cpu_go:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
  .size on_cpu_go, .-on_cpu_go
)");
inline void go(Place& from, Place& to) { on_cpu_go(&from, to); }
inline void prepare(Place& place, char* stack, void (*start)()) {
  auto top = (uintptr_t)(stack + STACK) & ~uintptr_t(15);
  auto words = (uintptr_t*)top - 8;                // six registers, where to start, and a caller that there is not
  std::fill(words, words + 8, 0);
  words[6] = (uintptr_t)start;
  place = words;
}
#endif

struct Meeting;
struct Coroutine {
  Place place;
  Index index;
  bool done;
  const Meeting* meeting;                          // at which it waits, and
  unsigned generation;                             // how often that had been opened before
  char* stack = new char[STACK];                   // of a process's life, as all coroutines are
};
inline std::vector<Coroutine*> coroutines;
inline Place scheduler;
inline unsigned current;
inline bool progress;                              // did anyone get past a meeting in this round?

struct Meeting {
  unsigned live, arrived = 0, generation = 0;
  explicit Meeting(unsigned live) : live(live) {}
  void open() { arrived = 0; ++generation; progress = true; }
  void wait() {
    Coroutine& mine = *coroutines[current];
    mine.meeting = this;
    mine.generation = generation;
    if (++arrived == live) return open();
    mine.index = index;
    go(mine.place, scheduler);                     // which comes back once the meeting has been opened
    index = mine.index;
  }
  void leave() { if (--live && arrived == live) open(); }
};

#endif

struct Warp { Meeting gate; uint64_t lane[32]; explicit Warp(unsigned n) : gate(n) {} };
inline Meeting* block_barrier;
inline std::vector<Warp*> warps;

template <class T> T exchange(T value, unsigned from) {      // every lane of the warp calls this together
  Warp& w = *warps[index.linear / 32];
  std::memcpy(&w.lane[index.linear % 32], &value, sizeof value);
  w.gate.wait();
  T got = value;
  if (from < 32) std::memcpy(&got, &w.lane[from], sizeof got);
  w.gate.wait();
  return got;
}

inline void (*body)(const void* kernel);
inline const void* body_of;
inline void finish() {                             // a thread that returned early holds nobody back
  warps[index.linear / 32]->gate.leave();
  block_barrier->leave();
}

#ifndef ON_CPU_THREADS
inline void run_coroutine() {
  body(body_of);
  finish();
  coroutines[current]->done = true;
  progress = true;
  go(coroutines[current]->place, scheduler);
}
#endif

inline dim3 grid_size, block_size;
inline bool flushes;                               // float32 subnormals, in this launch

inline void run_block(dim3 at, unsigned n) {
  auto index_of = [=](unsigned t) {
    return Index{{t % block_size.x, t / block_size.x % block_size.y, t / (block_size.x * block_size.y)}, at, t};
  };
#ifdef ON_CPU_THREADS
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < n; ++t) threads.emplace_back([=] {
    const Flushing while_it_runs(flushes);
    index = index_of(t);
    body(body_of);
    finish();
  });
  for (auto& thread : threads) thread.join();
#else
  while (coroutines.size() < n) coroutines.push_back(new Coroutine);
  for (unsigned t = 0; t < n; ++t) {
    Coroutine& c = *coroutines[t];
    prepare(c.place, c.stack, run_coroutine);
    c.index = index_of(t);
    c.done = false;
    c.meeting = nullptr;
  }
  for (unsigned left = n; left;) {
    progress = false;
    left = 0;
    for (current = 0; current < n; ++current) {
      Coroutine& c = *coroutines[current];
      if (c.done) continue;
      if (!c.meeting || c.meeting->generation != c.generation) {
        index = c.index;
        go(scheduler, c.place);
      }
      left += !c.done;
    }
    if (left && !progress) {
      std::fprintf(stderr, "deadlock: %u threads of a block wait where the others never come\n", left);
      std::abort();
    }
  }
#endif
}

template <class Kernel> void launch(dim3 grid, dim3 block, bool without_subnormals, const Kernel& kernel) {
  flushes = without_subnormals;
  const Flushing while_it_runs(flushes);
  grid_size = grid;
  block_size = block;
  body = [](const void* of) { (*static_cast<const Kernel*>(of))(); };
  body_of = &kernel;
  const unsigned n = block.x * block.y * block.z;
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        block_barrier = new Meeting(n);
        for (unsigned t = 0; t < n; t += 32) warps.push_back(new Warp(std::min(32u, n - t)));
        run_block({x, y, z}, n);
        for (Warp* warp : warps) delete warp;
        warps.clear();
        delete block_barrier;
      }
}

}  // namespace on_cpu

#define threadIdx (on_cpu::index.thread)
#define blockIdx (on_cpu::index.block)
#define blockDim (on_cpu::block_size)
#define gridDim (on_cpu::grid_size)
#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __shared__ static  // one block at a time, so static storage is the block's

inline void __syncthreads() { on_cpu::block_barrier->wait(); }
inline void __syncwarp(unsigned = ~0u) { on_cpu::warps[on_cpu::index.linear / 32]->gate.wait(); }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
template <class T> T __shfl_xor_sync(unsigned, T v, int mask) { return on_cpu::exchange(v, (on_cpu::index.linear % 32) ^ mask); }
template <class T> T __shfl_down_sync(unsigned, T v, int d) { return on_cpu::exchange(v, on_cpu::index.linear % 32 + d); }
template <class T> T __shfl_sync(unsigned, T v, int from) { return on_cpu::exchange(v, from % 32); }
inline unsigned __ballot_sync(unsigned, bool vote) {
  on_cpu::Warp& w = *on_cpu::warps[on_cpu::index.linear / 32];
  w.lane[on_cpu::index.linear % 32] = vote;
  w.gate.wait();
  unsigned votes = 0;
  for (int lane = 0; lane < 32; ++lane) votes |= unsigned(w.lane[lane]) << lane;
  w.gate.wait();
  return votes;
}
inline int __ffs(unsigned x) { return x ? __builtin_ctz(x) + 1 : 0; }
inline unsigned atomicInc(unsigned* p, unsigned last) {      // wraps to 0 after `last`
  unsigned old = __atomic_load_n(p, __ATOMIC_SEQ_CST);
  while (!__atomic_compare_exchange_n(p, &old, old >= last ? 0 : old + 1, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {}
  return old;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return (uint64_t(a) * b) >> 32; }
inline float __uint_as_float(unsigned x) { float f; std::memcpy(&f, &x, 4); return f; }
inline unsigned __float_as_uint(float x) { unsigned u; std::memcpy(&u, &x, 4); return u; }
// Not inlined, or the compiler would fuse them with a sum beside them, as it does with * and +.
__attribute__((noinline)) inline double __dmul_rn(double a, double b) { return a * b; }
__attribute__((noinline)) inline double __dadd_rn(double a, double b) { return a + b; }
inline float rsqrtf(float x) { return 1.f / std::sqrt(x); }
using std::copysign, std::fabs, std::fma, std::fmin, std::isfinite, std::isinf, std::isnan, std::max, std::min, std::sqrt;
