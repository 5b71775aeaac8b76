// Float32 without subnormals, as CuPy compiles (-ftz=true): no operation and no function takes or makes one.
//
// The processor has a switch for it. That is for doubles too, which a card never flushes: launch() is told for which
// kernels to set it. Other CPUs than these two have no such switch here: subnormals stay.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#ifdef __x86_64__
#include <xmmintrin.h>
#endif

namespace on_cpu {

#if defined(__x86_64__)
inline unsigned mode() { return _mm_getcsr(); }
inline void set_mode(unsigned mode) { _mm_setcsr(mode); }
constexpr unsigned FLUSH_TO_ZERO = 0x8040;         // FTZ of results, DAZ of operands
#elif defined(__aarch64__)
inline uint64_t mode() { uint64_t m; asm volatile("mrs %0, fpcr" : "=r"(m)); return m; }
inline void set_mode(uint64_t mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
constexpr uint64_t FLUSH_TO_ZERO = 1 << 24;        // FZ, of both
#else
inline unsigned mode() { return 0; }
inline void set_mode(unsigned) {}
constexpr unsigned FLUSH_TO_ZERO = 0;
#endif

class Flushing {                                   // this thread's arithmetic, for as long as it lives
 public:
  explicit Flushing(bool flushes) { if (flushes) set_mode(before | FLUSH_TO_ZERO); }
  ~Flushing() { set_mode(before); }
 private:
  const decltype(mode()) before = mode();
};

// Functions of the C library look at bits, so that the switch alone would give the logarithm of a subnormal digits of
// chance.
inline float flushed(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits & 0x7f800000 ? x : std::copysign(0.f, x);
}

}  // namespace on_cpu

#define ON_CPU_FLOAT(name) inline float name(float x) { return on_cpu::flushed(std::name(on_cpu::flushed(x))); }
ON_CPU_FLOAT(erfc) ON_CPU_FLOAT(exp) ON_CPU_FLOAT(expm1) ON_CPU_FLOAT(log) ON_CPU_FLOAT(log1p) ON_CPU_FLOAT(tanh)
inline float pow(float x, float y) { return on_cpu::flushed(std::pow(on_cpu::flushed(x), on_cpu::flushed(y))); }
