// Activations rounded to 8 bits for each token and group, for one instruction set; see linear.h.
//
// Tokens are cut into tiles of nearly equal size. A tile's values lie as the products read them: for 4 inputs, 4 bytes
// of each of its tokens.

static inline F load_in(const Call& c, int64_t at) {
  return c.bfloat16 ? load_bf16((const uint16_t*)c.x + at) : fload((const float*)c.x + at);
}

static int64_t tiles(const Call& c, const Quantised& a) { return (c.tokens + a.rows - 1) / a.rows; }
static int64_t first_of(const Call& c, const Quantised& a, int64_t tile) { return tile * c.tokens / tiles(c, a); }

// Row `row` of the `rows` in the tile that begins with token `first`.
static void quantise_row(const Call& c, const Quantised& a, int64_t first, int64_t rows, int64_t row) {
  const int64_t groups = c.inputs / c.group;
  int8_t* q = a.q + first * c.inputs + 4 * row;
  const I offset = iset(a.shifted ? 128 : 0);
  for (int64_t g = 0; g < groups; g++) {
    const int64_t at = (first + row) * c.inputs + g * c.group, of = first * groups + g * rows + row;
    F most = fset(0.f);
    for (int64_t i = 0; i < c.group; i += 16) most = fmax_abs(most, load_in(c, at + i));
    const float largest = reduce_max(most);
    const F inverse = fset(largest > 0.f ? 127.f / largest : 0.f);
    I total = izero();
    for (int64_t i = 0; i < c.group; i += 16) {
      const I rounded = round_to_int(fmul(load_in(c, at + i), inverse));
      total = iadd(total, rounded);
      store_fours(q + (g * c.group + i) * rows, 4 * rows, iadd(rounded, offset));
    }
    a.scale[of] = largest / 127.f;
    if (!a.shifted) a.sum[of] = (float)reduce_add(total);
  }
}

static void quantise_tile(const Call& c, const Quantised& a, int64_t tile) {
  const int64_t first = first_of(c, a, tile), rows = first_of(c, a, tile + 1) - first;
  for (int64_t row = 0; row < rows; row++) quantise_row(c, a, first, rows, row);
}
