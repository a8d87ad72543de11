// Attention of a few queries, as in decoding: keys and values are read once, where they lie.
//
// A key/value head's queries (its group of heads, times the tokens) are worked on together. Where there are more threads
// than key/value heads the keys are split; each part leaves its largest score, its total and its mix, joined at the end.
constexpr int kFewRows = 6;      // queries that are worked on together
constexpr int64_t kSplit = 256;  // keys of a part at least

struct Part {  // the keys [first, end) for the queries of one key/value head
  int64_t kv_head, first, end;
  float* scores;  // [kFewRows][keys of the part, up to whole vectors]
  float* result;  // [queries of the head][2 + dim]: largest score, total, mix
};

template <class T>
static const T* query(const AttendCall& c, const Part& p, int64_t row) {
  return (const T*)c.q + (p.kv_head * (c.heads / c.kv_heads) + row / c.queries) * c.q_head + row % c.queries * c.q_row;
}

// Scores in powers of two: scaled, with the mask, times log2(e); minus infinity for keys that are not seen.
template <class T, int R>
static void score_few(const AttendCall& c, const Part& p, int64_t row) {
  const int64_t stride = up(p.end - p.first, 16);
  const T* q[R];
  for (int r = 0; r < R; r++) q[r] = query<T>(c, p, row + r);
  for (int64_t key = p.first; key < p.end; key++) {
    const T* k = (const T*)c.k + p.kv_head * c.k_head + key * c.k_row;
    F sums[R];
    for (auto& sum : sums) sum = fset(0.f);
    for (int64_t d = 0; d < c.dim; d += 32)
      for (int r = 0; r < R; r++) sums[r] = dot32(sums[r], q[r] + d, k + d);
    for (int r = 0; r < R; r++) {
      const int64_t token = (row + r) % c.queries;
      float s = reduce_add(sums[r]) * c.scale * kLog2e;
      if (c.mask) s += kLog2e * widen_one(((const T*)c.mask)[token * c.keys + key]);
      if (c.causal && key > c.keys - c.queries + token) s = -INFINITY;
      p.scores[r * stride + key - p.first] = s;
    }
  }
}

// The values' sum by shares, 32 dims at a time.
template <class T, int R>
static void mix_few(const AttendCall& c, const Part& p, int64_t row) {
  const int64_t stride = up(p.end - p.first, 16);
  for (int64_t d = 0; d < c.dim; d += 32) {
    F sums[R][2];
    for (auto& sum : sums) sum[0] = sum[1] = fset(0.f);
    for (int64_t key = p.first; key < p.end; key++) {
      const T* v = (const T*)c.v + p.kv_head * c.v_head + key * c.v_row + d;
      const F low = fload(v), high = fload(v + 16);
      for (int r = 0; r < R; r++) {
        const F x = fset(p.scores[r * stride + key - p.first]);
        sums[r][0] = fadd_mul(sums[r][0], x, low);
        sums[r][1] = fadd_mul(sums[r][1], x, high);
      }
    }
    for (int r = 0; r < R; r++) {
      float* result = p.result + (row + r) * (2 + c.dim) + 2 + d;
      fstore(result, sums[r][0]);
      fstore(result + 16, sums[r][1]);
    }
  }
}

template <class T, int R>
static void attend_part(const AttendCall& c, const Part& p, int64_t row, int64_t rows) {
  const int64_t keys = p.end - p.first, stride = up(keys, 16);
  for (; row + R <= rows; row += R) {
    score_few<T, R>(c, p, row);
    for (int r = 0; r < R; r++) {
      float* s = p.scores + r * stride;
      for (int64_t key = keys; key < stride; key++) s[key] = -INFINITY;
      float* result = p.result + (row + r) * (2 + c.dim);
      result[0] = share_row(s, stride, result[1]);
    }
    mix_few<T, R>(c, p, row);
  }
  if constexpr (R > 1)
    if (row < rows) attend_part<T, R - 1>(c, p, row, rows);
}

// Join the parts' results of one query; part_size: floats from one part's results to the next one's.
template <class T>
static void join(const AttendCall& c, const float* results, int64_t parts, int64_t part_size, T* out) {
  float most = -INFINITY, total = 0.f;
  for (int64_t i = 0; i < parts; i++) most = std::fmax(most, results[i * part_size]);
  const auto weight = [&](int64_t i) { return results[i * part_size] == -INFINITY ? 0.f : std::exp2(results[i * part_size] - most); };
  for (int64_t i = 0; i < parts; i++) total += weight(i) * results[i * part_size + 1];
  for (int64_t d = 0; d < c.dim; d += 16) {
    F sum = fset(0.f);
    for (int64_t i = 0; i < parts; i++) sum = fadd_mul(sum, fset(weight(i)), fload(results + i * part_size + 2 + d));
    fstore(out + d, fmul(sum, fset(1.f / total)));
  }
}

// dim: a multiple of 32.
template <class T>
static void attend_few_of(const AttendCall& c, int threads) {
  const int64_t group = c.heads / c.kv_heads, rows = group * c.queries;
  int64_t parts = 1;
  while (c.kv_heads * parts < threads && c.keys / (parts + 1) >= kSplit) parts++;
  const int64_t size = (c.keys + parts - 1) / parts, part_size = rows * (2 + c.dim);
  float* results = (float*)scratch(kActivations, 4 * c.kv_heads * parts * part_size);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t task = 0; task < c.kv_heads * parts; task++) {
    const int64_t first = task % parts * size, end = first + size < c.keys ? first + size : c.keys;
    float* scores = (float*)scratch(kWork, kFewRows * up(size, 16) * 4);
    attend_part<T, kFewRows>(c, {task / parts, first, end, scores, results + task * part_size}, 0, rows);
  }
  for (int64_t head = 0; head < c.heads; head++)
    for (int64_t token = 0; token < c.queries; token++) {
      const float* from = results + head / group * parts * part_size + (head % group * c.queries + token) * (2 + c.dim);
      join(c, from, parts, part_size, (T*)c.out + head * c.out_head + token * c.out_row);
    }
}

static void attend_few(const AttendCall& c, int threads) {
  if (c.bfloat16) attend_few_of<uint16_t>(c, threads);
  else attend_few_of<float>(c, threads);
}
