// The entry points, and the choice of the instruction set.
#include "kernels.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdlib>
#include <cstring>
#include <string>

#ifdef __x86_64__
namespace vila_avx512bf16 { extern const Set kSet; }
namespace vila_avx512 { extern const Set kSet; }
namespace vila_avxvnni { extern const Set kSet; }
namespace vila_avx2 { extern const Set kSet; }
#endif
#ifdef __aarch64__
namespace vila_neon { extern const Set kSet; }
#endif
namespace vila_scalar { extern const Set kSet; }

namespace {

const Set* const kSets[] = {  // the best one first
#ifdef __x86_64__
    &vila_avx512bf16::kSet, &vila_avx512::kSet, &vila_avxvnni::kSet, &vila_avx2::kSet,
#endif
#ifdef __aarch64__
    &vila_neon::kSet,
#endif
    &vila_scalar::kSet,
};
constexpr int kCount = sizeof kSets / sizeof kSets[0];

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
#else
  (void)bytes, (void)size;
#endif
}

}  // namespace

uint8_t* scratch(Use use, int64_t bytes) {
  static thread_local Buffer buffers[3];
  return buffers[use].at_least(bytes);
}

extern "C" {

// Names of the instruction sets that this processor has, the best one first, with commas between.
const char* vila_sets() {
  static const std::string names = [] {
#ifdef __x86_64__
    __builtin_cpu_init();
#endif
    std::string found;
    for (const Set* set : kSets)
      if (set->runs_here()) found += (found.empty() ? "" : ",") + std::string(set->name);
    return found;
  }();
  return names.c_str();
}

// Number of a set for the calls below, -1 if this processor or this library does not have it.
int vila_set(const char* name) {
  for (int i = 0; i < kCount; i++)
    if (!strcmp(kSets[i]->name, name)) return kSets[i]->runs_here() ? i : -1;
  return -1;
}

// Bytes as unsigned values 0..15 [outputs, inputs] to blocks, two to a byte; see linear.h.
void vila_pack_int4(const uint8_t* values, uint8_t* packed, int64_t outputs, int64_t inputs) {
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
void vila_pack_int8(const uint8_t* values, uint8_t* packed, int64_t outputs, int64_t inputs) {
  prefer_large_pages(packed, outputs * inputs);
#pragma omp parallel for
  for (int64_t block = 0; block < outputs / 16; block++)
    for (int64_t k = 0; k < inputs / 4; k++)
      for (int64_t lane = 0; lane < 16; lane++)
        memcpy(packed + (block * (inputs / 4) + k) * 64 + 4 * lane, values + (block * 16 + lane) * inputs + 4 * k, 4);
}

// Layers with the same x, inputs, group and bits.
void vila_linear(const Call* calls, int count, int set) { kSets[set]->linear(calls, count); }
void vila_attend(const AttendCall* call, int threads, int set) { kSets[set]->attend(*call, threads); }
void vila_attend_few(const AttendCall* call, int threads, int set) { kSets[set]->attend_few(*call, threads); }
void vila_decoder(const DecoderCall* call, int set) { kSets[set]->decoder(*call); }
void vila_tower(const TowerCall* call, int set) { kSets[set]->tower(*call); }
void vila_gelu(const RowsCall* call, int set) { kSets[set]->gelu(*call); }
void vila_silu_mul(const RowsCall* call, int set) { kSets[set]->silu_mul(*call); }
void vila_rms_norm(const RowsCall* call, int set) { kSets[set]->rms_norm(*call); }
void vila_layer_norm(const RowsCall* call, int set) { kSets[set]->layer_norm(*call); }
void vila_rotate(const RowsCall* call, int set) { kSets[set]->rotate(*call); }
void vila_resize(const ResizeCall* call, int set) { kSets[set]->resize(*call); }

}  // extern "C"
