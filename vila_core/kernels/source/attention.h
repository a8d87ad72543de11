// Attention of many queries: keys and values are laid out anew, once for all queries of their head.
//
// Whole rows of scores are held, so there is one softmax and no rescaling: fit for some thousand keys.
struct Head {  // one key/value head; all float
  int64_t kv_head, keys, width;  // keys and dims up to whole vectors; keys to a whole tile
  float *k, *v;    // [keys / 16][dim][16] and [keys][width]
  float *q;        // [kAttendRows][dim], times the scale and log2(e)
  float* scores;   // [kAttendRows][keys], in powers of two, and then their shares
};

template <class T>
static void pack_keys(const AttendCall& c, const Head& h) {
  const T* k = (const T*)c.k + h.kv_head * c.k_head;
  for (int64_t key = 0; key < h.keys; key += 16)
    for (int64_t d = 0; d < c.dim; d += 16) {
      F block[16];
      for (int i = 0; i < 16; i++) block[i] = key + i < c.keys ? fload_first(k + (key + i) * c.k_row + d, c.dim - d) : fset(0.f);
      transpose(block);
      float* to = h.k + key * c.dim + d * 16;
      for (int i = 0; i < 16 && d + i < c.dim; i++) fstore(to + 16 * i, block[i]);
    }
}

template <class T>
static void pack_values(const AttendCall& c, const Head& h) {
  const T* v = (const T*)c.v + h.kv_head * c.v_head;
  for (int64_t key = 0; key < h.keys; key++)
    for (int64_t d = 0; d < h.width; d += 16)
      fstore(h.v + key * h.width + d, key < c.keys ? fload_first(v + key * c.v_row + d, c.dim - d) : fset(0.f));
}

template <class T>
static void take_queries(const AttendCall& c, const Head& h, const Queries<T>& rows) {
  for (int r = 0; r < kAttendRows; r++)
    for (int64_t d = 0; d < c.dim; d++) h.q[r * c.dim + d] = widen_one(rows.q[r][d]) * (c.scale * kLog2e);
}

template <class T>
static void score(const AttendCall& c, const Head& h, const Queries<T>& rows) {
  for (int64_t key = 0; key < rows.keys; key += 16 * kAttendBlocks) {
    F sums[kAttendRows][kAttendBlocks];
#pragma GCC unroll 16
    for (auto& row : sums) for (auto& sum : row) sum = fset(0.f);
    const float* k = h.k + key * c.dim;
    for (int64_t d = 0; d < c.dim; d++) {
      F w[kAttendBlocks];
#pragma GCC unroll 4
      for (int b = 0; b < kAttendBlocks; b++) w[b] = fload(k + (b * c.dim + d) * 16);
#pragma GCC unroll 16
      for (int r = 0; r < kAttendRows; r++) {
        const auto x = fset(h.q[r * c.dim + d]);
#pragma GCC unroll 4
        for (int b = 0; b < kAttendBlocks; b++) sums[r][b] = fadd_mul(sums[r][b], w[b], x);
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < kAttendRows; r++)
#pragma GCC unroll 4
      for (int b = 0; b < kAttendBlocks; b++) fstore(h.scores + r * h.keys + key + 16 * b, sums[r][b]);
  }
}

// The values' sum by shares, V vectors of 16 dims from `first` on.
template <class T, int V>
static void mix(const AttendCall& c, const Head& h, const Queries<T>& rows, int64_t first, const float (&totals)[kAttendRows]) {
  F sums[kAttendRows][V];
#pragma GCC unroll 16
  for (auto& row : sums) for (auto& sum : row) sum = fset(0.f);
  for (int64_t key = 0; key < rows.keys; key++) {
    F w[V];
#pragma GCC unroll 4
    for (int i = 0; i < V; i++) w[i] = fload(h.v + key * h.width + first + 16 * i);
#pragma GCC unroll 16
    for (int r = 0; r < kAttendRows; r++) {
      const auto x = fset(h.scores[r * h.keys + key]);
#pragma GCC unroll 4
      for (int i = 0; i < V; i++) sums[r][i] = fadd_mul(sums[r][i], w[i], x);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kAttendRows; r++)
    for (int i = 0; i < V && r < rows.count; i++) {
      const int64_t d = first + 16 * i;
      fstore_first(rows.out[r] + d, fmul(sums[r][i], fset(1.f / totals[r])), c.dim - d);
    }
}

template <class T>
static void attend_head(const AttendCall& c, const Head& h, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; row += kAttendRows) {
    const Queries<T> rows = queries_from<T>(c, h.kv_head, row, end);
    take_queries(c, h, rows);
    score(c, h, rows);
    hide(h.scores, h.keys, rows);
    float totals[kAttendRows];
    for (int r = 0; r < kAttendRows; r++) share_row(h.scores + r * h.keys, rows.keys, totals[r]);
    int64_t d = 0;
    for (; h.width - d >= 16 * kAttendBlocks; d += 16 * kAttendBlocks) mix<T, kAttendBlocks>(c, h, rows, d, totals);
    for (; d < h.width; d += 16) mix<T, 1>(c, h, rows, d, totals);
  }
}

template <class T>
static void attend_of(const AttendCall& c, int threads) {
  const Cut cut = cut_heads(c, threads);
  const int64_t keys = up(c.keys, 16 * kAttendBlocks), width = up(c.dim, 16);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t task = 0; task < c.kv_heads * cut.parts; task++) {
    float* floats = (float*)scratch(kWork, 4 * (keys * (c.dim + width) + kAttendRows * (width + keys)));
    Head h{task / cut.parts, keys, width, floats, floats + keys * c.dim, nullptr, nullptr};
    h.q = h.v + keys * width;
    h.scores = h.q + kAttendRows * width;
    pack_keys<T>(c, h);
    pack_values<T>(c, h);
    const int64_t begin = task % cut.parts * cut.size;
    attend_head<T>(c, h, begin, begin + cut.size < cut.rows ? begin + cut.size : cut.rows);
  }
}

#ifdef VILA_WORDS
#include "attention_words.h"
#endif

template <class T>
static void attend_typed(const AttendCall& c, int threads) {
#ifdef VILA_WORDS
  if (c.eight_bits && c.dim <= words::kMostDims) return words::attend<T>(c, threads);
#endif
  attend_of<T>(c, threads);
}

static void attend(const AttendCall& c, int threads) {
#ifdef VILA_BF16
  if (c.bfloat16) return pairs::attend(c, threads);
#endif
  if (c.bfloat16) attend_typed<uint16_t>(c, threads);
  else attend_typed<float>(c, threads);
}
