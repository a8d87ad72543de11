// AVX-512 with VNNI and BF16: Intel since 2020, AMD since Zen 4.
#include "common.h"
#ifdef __x86_64__
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")
#include <immintrin.h>

#define VILA_BF16

namespace vila_avx512bf16 {

#include "avx512.h"
static inline F dot32(F sum, const uint16_t* a, const uint16_t* b) {
  return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_loadu_si512(a), (__m512bh)_mm512_loadu_si512(b));
}
#include "set.h"

static bool runs_here() {
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
VILA_SET("avx512bf16", runs_here)

}  // namespace vila_avx512bf16
#endif
