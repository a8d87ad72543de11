// AVX-512 with VNNI: servers since 2019, laptops of some years.
#include "common.h"
#ifdef __x86_64__
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")
#include <immintrin.h>

namespace vila_avx512 {

#include "avx512.h"
#include "set.h"

static bool runs_here() {
  return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq");
}
VILA_SET("avx512", runs_here)

}  // namespace vila_avx512
#endif
