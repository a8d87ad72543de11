// The entry points, and the choice of the instruction set.
#include "kernels.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

namespace vila_avx512 { void linear(const Call*, int, Quantised); }
namespace vila_avxvnni { void linear(const Call*, int, Quantised); }
namespace vila_avx2 { void linear(const Call*, int, Quantised); }

namespace {

struct Buffer {
  uint8_t* bytes = nullptr;
  int64_t size = 0;
  ~Buffer() { free(bytes); }
  uint8_t* at_least(int64_t wanted) {
    if (size < wanted) {
      free(bytes);
      size = (wanted + 63) / 64 * 64;
      bytes = (uint8_t*)aligned_alloc(64, size);
    }
    return bytes;
  }
};

// Ask for large pages below memory that is not in use yet: weights are read faster from them.
void prefer_large_pages(uint8_t* bytes, int64_t size) {
#ifdef MADV_HUGEPAGE
  const uintptr_t page = 2 << 20, first = ((uintptr_t)bytes + page - 1) / page * page, end = (uintptr_t)(bytes + size) / page * page;
  if (end > first) madvise((void*)first, end - first, MADV_HUGEPAGE);
#endif
}

int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

uint8_t* thread_scratch(int64_t bytes) {
  static thread_local Buffer buffer;
  return buffer.at_least(bytes);
}

// Names of the instruction sets that this CPU has, the best one first: 3 AVX-512 VNNI, 2 AVX-VNNI, 1 AVX2, 0 none.
extern "C" int vila_best_set() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq"))
    return 3;
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c")) return 0;
  return __builtin_cpu_supports("avxvnni") ? 2 : 1;
}

// Bytes as unsigned values 0..15 [outputs, inputs] to blocks, two to a byte.
extern "C" void vila_pack_int4(const uint8_t* values, uint8_t* packed, int64_t outputs, int64_t inputs) {
  prefer_large_pages(packed, outputs * inputs / 2);
#pragma omp parallel for
  for (int64_t block = 0; block < outputs / 16; block++)
    for (int64_t k = 0; k < inputs / 8; k++)
      for (int64_t lane = 0; lane < 16; lane++) {
        const uint8_t* row = values + (block * 16 + lane) * inputs + 8 * k;
        uint8_t* to = packed + (block * (inputs / 8) + k) * 64 + 4 * lane;
        for (int j = 0; j < 4; j++) to[j] = (uint8_t)(row[j] | row[4 + j] << 4);
      }
}

// Unsigned bytes [outputs, inputs] to blocks.
extern "C" void vila_pack_int8(const uint8_t* values, uint8_t* packed, int64_t outputs, int64_t inputs) {
  prefer_large_pages(packed, outputs * inputs);
#pragma omp parallel for
  for (int64_t block = 0; block < outputs / 16; block++)
    for (int64_t k = 0; k < inputs / 4; k++)
      for (int64_t lane = 0; lane < 16; lane++)
        memcpy(packed + (block * (inputs / 4) + k) * 64 + 4 * lane, values + (block * 16 + lane) * inputs + 4 * k, 4);
}

// Layers with the same x, inputs, group and bits. set: as vila_best_set, or lower.
extern "C" void vila_linear(const Call* calls, int count, int set) {
  static thread_local Buffer buffer;
  const int64_t values = aligned(calls->tokens * calls->inputs), sums = aligned(calls->tokens * (calls->inputs / calls->group) * 4);
  uint8_t* bytes = buffer.at_least(values + 2 * sums);
  const Quantised a{(int8_t*)bytes, (float*)(bytes + values), (float*)(bytes + values + sums), 0, false};
  if (set == 3) vila_avx512::linear(calls, count, a);
  else if (set == 2) vila_avxvnni::linear(calls, count, a);
  else vila_avx2::linear(calls, count, a);
}
