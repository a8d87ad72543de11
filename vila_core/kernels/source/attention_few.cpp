// Attention of a few queries, as in decoding: keys and values are read once, where they lie.
//
// A key/value head's queries (its group of heads, times the tokens) are worked on together. Where there are more threads
// than key/value heads the keys are split; each part leaves its largest score, its total and its mix, joined at the end.
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "bf16.h"
#include "exp.h"
#include "kernels.h"

namespace {

constexpr int kRows = 6;          // queries that are worked on together
constexpr int64_t kSplit = 256;   // keys of a part at least
constexpr float kLog2e = 1.44269504f;

using vila::dot2;
using vila::load;

struct Part {  // the keys [first, end) for the queries of one key/value head
  const AttendCall* c;
  int64_t kv_head, first, end;
  float* scores;   // [kRows][keys of the part, up to whole vectors]
  float* result;   // [queries of the head][2 + dim]: largest score, total, mix
};

int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
int64_t group(const AttendCall& c) { return c.heads / c.kv_heads; }

const uint16_t* query(const Part& p, int64_t row) {
  const AttendCall& c = *p.c;
  return c.q + (p.kv_head * group(c) + row / c.queries) * c.q_head + row % c.queries * c.q_row;
}

// Scores in powers of two: scaled, with the mask, times log2(e); minus infinity for keys that are not seen.
template <int R>
void score(const Part& p, int64_t row) {
  const AttendCall& c = *p.c;
  const int64_t stride = up(p.end - p.first, 16);
  const uint16_t* q[R];
  for (int r = 0; r < R; r++) q[r] = query(p, row + r);
  for (int64_t key = p.first; key < p.end; key++) {
    const uint16_t* k = c.k + p.kv_head * c.k_head + key * c.k_row;
    __m512 sums[R];
    for (auto& sum : sums) sum = _mm512_setzero_ps();
    for (int64_t d = 0; d < c.dim; d += 32) {
      const __m512bh w = load(k + d);
      for (int r = 0; r < R; r++) sums[r] = dot2(sums[r], load(q[r] + d), w);
    }
    for (int r = 0; r < R; r++) {
      const int64_t token = (row + r) % c.queries;
      float s = _mm512_reduce_add_ps(sums[r]) * c.scale * kLog2e;
      if (c.mask) s += kLog2e * vila::widen_one(c.mask[token * c.keys + key]);
      if (c.causal && key > c.keys - c.queries + token) s = -INFINITY;
      p.scores[r * stride + key - p.first] = s;
    }
  }
}

// 2^(score - largest) in place of the scores; the largest and the total go to the result.
void share(const Part& p, int64_t row, int rows) {
  const int64_t keys = p.end - p.first, stride = up(keys, 16);
  for (int r = 0; r < rows; r++) {
    float* s = p.scores + r * stride;
    for (int64_t key = keys; key < stride; key++) s[key] = -INFINITY;
    __m512 most = _mm512_set1_ps(-INFINITY);
    for (int64_t key = 0; key < stride; key += 16) most = _mm512_max_ps(most, _mm512_loadu_ps(s + key));
    const float largest = _mm512_reduce_max_ps(most);
    const __m512 top = _mm512_set1_ps(largest == -INFINITY ? 0.f : largest);
    __m512 total = _mm512_setzero_ps();
    for (int64_t key = 0; key < stride; key += 16) {
      const __m512 x = _mm512_loadu_ps(s + key);
      const __mmask16 seen = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-INFINITY), _CMP_GT_OQ);
      const __m512 part = _mm512_maskz_mov_ps(seen, vila::power16(_mm512_sub_ps(x, top)));
      total = _mm512_add_ps(total, part);
      _mm512_storeu_ps(s + key, part);
    }
    float* result = p.result + (row + r) * (2 + p.c->dim);
    result[0] = largest;
    result[1] = _mm512_reduce_add_ps(total);
  }
}

// The values' sum by shares, 64 dims at a time.
template <int R>
void mix(const Part& p, int64_t row) {
  const AttendCall& c = *p.c;
  const int64_t stride = up(p.end - p.first, 16);
  for (int64_t d = 0; d < c.dim; d += 32) {
    __m512 sums[R][2];
    for (auto& sum : sums) sum[0] = sum[1] = _mm512_setzero_ps();
    for (int64_t key = p.first; key < p.end; key++) {
      const uint16_t* v = c.v + p.kv_head * c.v_head + key * c.v_row + d;
      const __m512 low = vila::widen(v), high = vila::widen(v + 16);
      for (int r = 0; r < R; r++) {
        const __m512 x = _mm512_set1_ps(p.scores[r * stride + key - p.first]);
        sums[r][0] = _mm512_fmadd_ps(x, low, sums[r][0]);
        sums[r][1] = _mm512_fmadd_ps(x, high, sums[r][1]);
      }
    }
    for (int r = 0; r < R; r++) {
      float* result = p.result + (row + r) * (2 + c.dim) + 2 + d;
      _mm512_storeu_ps(result, sums[r][0]);
      _mm512_storeu_ps(result + 16, sums[r][1]);
    }
  }
}

template <int R>
void attend_rows(const Part& p, int64_t row, int64_t rows) {
  for (; row + R <= rows; row += R) {
    score<R>(p, row);
    share(p, row, R);
    mix<R>(p, row);
  }
  if constexpr (R > 1)
    if (row < rows) attend_rows<R - 1>(p, row, rows);
}

// Join the parts' results of one query; part_size: floats from one part's results to the next one's.
void join(const AttendCall& c, const float* results, int64_t parts, int64_t part_size, uint16_t* out) {
  float most = -INFINITY, total = 0.f;
  for (int64_t i = 0; i < parts; i++) most = std::fmax(most, results[i * part_size]);
  std::vector<float> weight(parts);
  for (int64_t i = 0; i < parts; i++) {
    const float own = results[i * part_size];
    weight[i] = own == -INFINITY ? 0.f : std::exp2(own - most);
    total += weight[i] * results[i * part_size + 1];
  }
  for (int64_t d = 0; d < c.dim; d += 16) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < parts; i++)
      sum = _mm512_fmadd_ps(_mm512_set1_ps(weight[i]), _mm512_loadu_ps(results + i * part_size + 2 + d), sum);
    vila::narrow(out + d, _mm512_div_ps(sum, _mm512_set1_ps(total)));
  }
}

}  // namespace

// dim: a multiple of 32.
extern "C" void vila_attend_few(const AttendCall* call, int threads) {
  const AttendCall& c = *call;
  const int64_t rows = group(c) * c.queries;
  int64_t parts = 1;
  while (c.kv_heads * parts < threads && c.keys / (parts + 1) >= kSplit) parts++;
  const int64_t size = (c.keys + parts - 1) / parts, part_size = rows * (2 + c.dim);
  static thread_local std::vector<float> kept;
  kept.resize(c.kv_heads * parts * part_size);
  float* results = kept.data();
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t task = 0; task < c.kv_heads * parts; task++) {
    const int64_t first = task % parts * size, end = first + size < c.keys ? first + size : c.keys;
    float* scores = (float*)thread_scratch(kRows * up(size, 16) * 4);
    attend_rows<kRows>({call, task / parts, first, end, scores, results + task * part_size}, 0, rows);
  }
  for (int64_t head = 0; head < c.heads; head++)
    for (int64_t token = 0; token < c.queries; token++) {
      const float* from = results + head / group(c) * parts * part_size + (head % group(c) * c.queries + token) * (2 + c.dim);
      join(c, from, parts, part_size, c.out + head * c.out_head + token * c.out_row);
    }
}
