// Attention of many queries in 16 bits, where products of words are twice as quick as those of floats and no set of bytes
// is quicker: queries and keys keep 12 bits, each row with a scale of its own, shares 13, values 11 for each dim.
namespace words {

constexpr float kMostScore = 2047.f;   // 256 dims of such products fit 31 bits
constexpr float kMostShare = 8191.f, kMostValue = 1023.f;
constexpr int64_t kFlush = 256;        // keys whose products of shares and values fit 32 bits
constexpr int64_t kMostDims = 256;

struct Packed {  // one key/value head
  int64_t keys, width;  // up to whole vectors
  int16_t *k, *v;       // [keys / 16][width / 2][16][2] and [keys / 2][width][2]
  int16_t* q;           // [kAttendRows][width]
  int16_t* shares;      // [kAttendRows][keys]
  float *k_scale, *v_scale, *q_scale;  // [keys], [width], [kAttendRows]
  float* scores;        // [kAttendRows][keys]
};

template <class T>
static float largest_of(const T* row, int64_t dim) {
  F most = fset(0.f);
  for (int64_t d = 0; d < dim; d += 16) most = fmax_abs(most, fload_first(row + d, dim - d));
  return reduce_most(most);
}

static void store_words(int16_t* to, I values) {
  Bytes first, second;
  low_words(values, first, second);
  memcpy(to, &first, 16);
  memcpy(to + 8, &second, 16);
}

template <class T>
static void pack_keys(const AttendCall& c, int64_t kv_head, const Packed& packed) {
  const T* k = (const T*)c.k + kv_head * c.k_head;
  float inverse[16];
  for (int64_t key = 0; key < packed.keys; key += 16) {
    for (int64_t i = 0; i < 16; i++) {
      const float most = key + i < c.keys ? largest_of(k + (key + i) * c.k_row, c.dim) : 0.f;
      packed.k_scale[key + i] = most / kMostScore;
      inverse[i] = most > 0.f ? kMostScore / most : 0.f;
    }
    for (int64_t d = 0; d < packed.width; d += 16) {
      F block[16];
      for (int64_t i = 0; i < 16; i++)
        block[i] = key + i < c.keys ? fmul(fload_first(k + (key + i) * c.k_row + d, c.dim - d), fset(inverse[i])) : fset(0.f);
      transpose(block);
      int16_t* to = packed.k + key * packed.width + d * 16;
      for (int i = 0; i < 16; i += 2) istore((uint8_t*)(to + 16 * i), pair_words(round_to_int(block[i]), round_to_int(block[i + 1])));
    }
  }
}

template <class T>
static void pack_values(const AttendCall& c, int64_t kv_head, const Packed& packed) {
  const T* v = (const T*)c.v + kv_head * c.v_head;
  for (int64_t d = 0; d < packed.width; d += 16) {
    F most = fset(0.f);
    for (int64_t key = 0; key < c.keys; key++) most = fmax_abs(most, fload_first(v + key * c.v_row + d, c.dim - d));
    fstore(packed.v_scale + d, fmul(most, fset(1.f / (kMostValue * kMostShare))));
    const F inverse = fmul(fset(kMostValue), finverse(fmax(most, fset(1e-30f))));
    for (int64_t key = 0; key < packed.keys; key += 2) {
      I two[2];
      for (int64_t i = 0; i < 2; i++)
        two[i] = key + i < c.keys ? round_to_int(fmul(fload_first(v + (key + i) * c.v_row + d, c.dim - d), inverse)) : izero();
      istore((uint8_t*)(packed.v + key * packed.width + 2 * d), pair_words(two[0], two[1]));
    }
  }
}

template <class T>
static void take_queries(const AttendCall& c, const Packed& packed, const Queries<T>& rows) {
  for (int r = 0; r < kAttendRows; r++) {
    const float most = largest_of(rows.q[r], c.dim);
    const F inverse = fset(most > 0.f ? kMostScore / most : 0.f);
    packed.q_scale[r] = most / kMostScore * c.scale * kLog2e;
    for (int64_t d = 0; d < packed.width; d += 16)
      store_words(packed.q + r * packed.width + d, round_to_int(fmul(fload_first(rows.q[r] + d, c.dim - d), inverse)));
  }
}

static void score(const Packed& packed, int64_t dim, int64_t keys) {
  for (int64_t key = 0; key < keys; key += 16) {
    I sums[kAttendRows];
#pragma GCC unroll 16
    for (auto& sum : sums) sum = izero();
    const int16_t* k = packed.k + key * packed.width;
    for (int64_t d = 0; d < dim; d += 2) {
      const I w = iload((const uint8_t*)(k + 16 * d));
#pragma GCC unroll 16
      for (int r = 0; r < kAttendRows; r++) sums[r] = dot2(sums[r], w, broadcast4((const int8_t*)(packed.q + r * packed.width + d)));
    }
    const F scale = fload(packed.k_scale + key);
#pragma GCC unroll 16
    for (int r = 0; r < kAttendRows; r++)
      fstore(packed.scores + r * packed.keys + key, fmul(to_float(sums[r]), fmul(scale, fset(packed.q_scale[r]))));
  }
}

template <class T>
static void mix(const AttendCall& c, const Packed& packed, const Queries<T>& rows, int64_t d, const float (&totals)[kAttendRows]) {
  float mixed[kAttendRows][16];  // in memory: the registers are for the sums
  for (auto& row : mixed) fstore(row, fset(0.f));
  for (int64_t first = 0; first < rows.keys; first += kFlush) {
    const int64_t end = first + kFlush < rows.keys ? first + kFlush : rows.keys;
    I sums[kAttendRows];
#pragma GCC unroll 16
    for (auto& sum : sums) sum = izero();
    for (int64_t key = first; key < end; key += 2) {
      const I w = iload((const uint8_t*)(packed.v + key * packed.width + 2 * d));
#pragma GCC unroll 16
      for (int r = 0; r < kAttendRows; r++) sums[r] = dot2(sums[r], w, broadcast4((const int8_t*)(packed.shares + r * packed.keys + key)));
    }
#pragma GCC unroll 16
    for (int r = 0; r < kAttendRows; r++) fstore(mixed[r], fadd(fload(mixed[r]), to_float(sums[r])));
  }
  const F scale = fload(packed.v_scale + d);
  for (int r = 0; r < rows.count; r++)
    fstore_first(rows.out[r] + d, fmul(fload(mixed[r]), fmul(scale, fset(1.f / totals[r]))), c.dim - d);
}

template <class T>
static void attend_rows(const AttendCall& c, int64_t kv_head, const Packed& packed, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; row += kAttendRows) {
    const Queries<T> rows = queries_from<T>(c, kv_head, row, end);
    take_queries(c, packed, rows);
    score(packed, c.dim, rows.keys);
    hide(packed.scores, packed.keys, rows);
    float totals[kAttendRows];
    for (int r = 0; r < kAttendRows; r++) {
      float* s = packed.scores + r * packed.keys;
      share_row(s, rows.keys, totals[r]);
      for (int64_t key = 0; key < rows.keys; key += 16)
        store_words(packed.shares + r * packed.keys + key, round_to_int(fmul(fload(s + key), fset(kMostShare))));
    }
    for (int64_t d = 0; d < packed.width; d += 16) mix(c, packed, rows, d, totals);
  }
}

template <class T>
static void attend(const AttendCall& c, int threads) {
  const Cut cut = cut_heads(c, threads);
  const int64_t keys = up(c.keys, 16), width = up(c.dim, 16);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t task = 0; task < c.kv_heads * cut.parts; task++) {
    const int64_t kv_head = task / cut.parts, begin = task % cut.parts * cut.size;
    uint8_t* at = scratch(kWork, 2 * (2 * keys * width + kAttendRows * (width + keys)) + 4 * (keys + width + 16 + kAttendRows * keys));
    Packed packed{keys, width, (int16_t*)at, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
    packed.v = packed.k + keys * width;
    packed.q = packed.v + keys * width;
    packed.shares = packed.q + kAttendRows * width;
    packed.k_scale = (float*)(packed.shares + kAttendRows * keys);
    packed.v_scale = packed.k_scale + keys;
    packed.q_scale = packed.v_scale + width;
    packed.scores = packed.q_scale + 16;
    pack_keys<T>(c, kv_head, packed);
    pack_values<T>(c, kv_head, packed);
    attend_rows<T>(c, kv_head, packed, begin, begin + cut.size < cut.rows ? begin + cut.size : cut.rows);
  }
}

}  // namespace words
