// Attention of many queries: keys and values are laid out anew, once for all queries of their head.
//
// Whole rows of scores are held, so there is one softmax and no rescaling: fit for some thousand keys.
constexpr int kChunk = 128;  // queries that share one packing of the keys at least, where heads are cut

struct Head {  // one key/value head; all float
  int64_t kv_head, keys, width;  // keys and dims up to whole vectors; keys to a whole tile
  float *k, *v;    // [keys / 16][dim][16] and [keys][width]
  float *q;        // [kAttendRows][dim], times the scale and log2(e)
  float* scores;   // [kAttendRows][keys], in powers of two, and then their shares
};

template <class T>
struct Queries {  // that are worked on together
  int count;      // of them; the rest repeat the first
  int64_t keys;   // that any of them sees, up to a whole tile
  int64_t open;   // keys that all see without a mask
  const T *q[kAttendRows], *mask[kAttendRows];
  T* out[kAttendRows];
  int64_t seen[kAttendRows];  // keys that each sees
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
static Queries<T> queries_from(const AttendCall& c, const Head& h, int64_t begin, int64_t end) {
  Queries<T> rows;
  rows.count = end - begin < kAttendRows ? (int)(end - begin) : kAttendRows;
  int64_t most = 0, least = c.keys;
  for (int r = 0; r < kAttendRows; r++) {
    const int64_t at = begin + (r < rows.count ? r : 0), query = at % c.queries;
    const int64_t head = h.kv_head * (c.heads / c.kv_heads) + at / c.queries;
    rows.q[r] = (const T*)c.q + head * c.q_head + query * c.q_row;
    rows.mask[r] = c.mask ? (const T*)c.mask + query * c.keys : nullptr;
    rows.out[r] = (T*)c.out + head * c.out_head + query * c.out_row;
    rows.seen[r] = c.causal ? c.keys - c.queries + query + 1 : c.keys;
    if (rows.seen[r] > most) most = rows.seen[r];
    if (rows.seen[r] < least) least = rows.seen[r];
  }
  rows.open = c.mask ? 0 : least;
  rows.keys = up(most, 16 * kAttendBlocks);
  return rows;
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

// The mask's share of the scores, and minus infinity for keys that are not seen.
template <class T>
static void hide(const Head& h, const Queries<T>& rows) {
  for (int r = 0; r < kAttendRows; r++)
    for (int64_t key = rows.open / 16 * 16; key < rows.keys; key += 16) {
      float* s = h.scores + r * h.keys + key;
      F score = fload(s);
      if (rows.mask[r]) score = fadd_mul(score, fload_first(rows.mask[r] + key, rows.seen[r] - key), fset(kLog2e));
      fstore(s, ffirst(score, rows.seen[r] - key, fset(-INFINITY)));
    }
}

// 2^(score - largest) in place of `keys` scores, a multiple of 16; returns the largest, total: of them.
static float share_row(float* s, int64_t keys, float& total) {
  F most = fload(s), sum = fset(0.f);
  for (int64_t key = 16; key < keys; key += 16) most = fmax(most, fload(s + key));
  const float largest = reduce_max(most);
  const F top = fset(largest == -INFINITY ? 0.f : largest);
  for (int64_t key = 0; key < keys; key += 16) {
    const F part = power(fsub(fload(s + key), top));
    sum = fadd(sum, part);
    fstore(s + key, part);
  }
  total = reduce_add(sum);
  return largest;
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
    const Queries<T> rows = queries_from<T>(c, h, row, end);
    take_queries(c, h, rows);
    score(c, h, rows);
    hide(h, rows);
    float totals[kAttendRows];
    for (int r = 0; r < kAttendRows; r++) share_row(h.scores + r * h.keys, rows.keys, totals[r]);
    int64_t d = 0;
    for (; h.width - d >= 16 * kAttendBlocks; d += 16 * kAttendBlocks) mix<T, kAttendBlocks>(c, h, rows, d, totals);
    for (; d < h.width; d += 16) mix<T, 1>(c, h, rows, d, totals);
  }
}

// A task is a head, or where there are few of them a part of one.
template <class T>
static void attend_of(const AttendCall& c, int threads) {
  const int64_t rows = c.heads / c.kv_heads * c.queries;
  int64_t chunks = 1;
  while (c.kv_heads * chunks < 2 * threads && rows / (chunks + 1) >= kChunk) chunks++;
  const int64_t keys = up(c.keys, 16 * kAttendBlocks), width = up(c.dim, 16), size = up((rows + chunks - 1) / chunks, kAttendRows);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t task = 0; task < c.kv_heads * chunks; task++) {
    float* floats = (float*)scratch(kWork, 4 * (keys * (c.dim + width) + kAttendRows * (up(c.dim, 16) + keys)));
    Head h{task / chunks, keys, width, floats, floats + keys * c.dim, nullptr, nullptr};
    h.q = h.v + keys * width;
    h.scores = h.q + kAttendRows * up(c.dim, 16);
    pack_keys<T>(c, h);
    pack_values<T>(c, h);
    const int64_t begin = task % chunks * size;
    attend_head<T>(c, h, begin, begin + size < rows ? begin + size : rows);
  }
}

#ifdef VILA_WORDS
#include "attention_words.h"
#endif

template <class T>
static void attend_typed(const AttendCall& c, int threads) {
#ifdef VILA_WORDS
  if (c.eight_bits && c.dim <= words::kMostDims && c.kv_heads >= threads) return words::attend<T>(c, threads);
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
