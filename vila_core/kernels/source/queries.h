// Queries of one key/value head that are worked on together, and their scores.
constexpr int kChunk = 128;  // queries that share one packing of the keys at least, where heads are cut

// Tasks of equal size: a head each, or where there are few of them a part of one.
struct Cut {
  int64_t parts, size, rows;  // of each head; queries of a part, whole tiles; queries of a head
};

static Cut cut_heads(const AttendCall& c, int threads) {
  const int64_t rows = c.heads / c.kv_heads * c.queries;
  int64_t parts = 1;
  while (c.kv_heads * parts < 2 * threads && rows / (parts + 1) >= kChunk) parts++;
  return {parts, up((rows + parts - 1) / parts, kAttendRows), rows};
}

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
static Queries<T> queries_from(const AttendCall& c, int64_t kv_head, int64_t begin, int64_t end) {
  Queries<T> rows;
  rows.count = end - begin < kAttendRows ? (int)(end - begin) : kAttendRows;
  int64_t most = 0, least = c.keys;
  for (int r = 0; r < kAttendRows; r++) {
    const int64_t at = begin + (r < rows.count ? r : 0), query = at % c.queries;
    const int64_t head = kv_head * (c.heads / c.kv_heads) + at / c.queries;
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

// Adds the mask's share to scores [kAttendRows][stride], and minus infinity for keys that are not seen.
template <class T>
static void hide(float* scores, int64_t stride, const Queries<T>& rows) {
  for (int r = 0; r < kAttendRows; r++)
    for (int64_t key = rows.open / 16 * 16; key < rows.keys; key += 16) {
      float* s = scores + r * stride + key;
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
