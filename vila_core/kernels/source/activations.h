// Activations rounded to 8 bits for each token and group; see linear.h.
//
// Tokens are cut into tiles of nearly equal size. A tile's values lie as the products read them: for 4 inputs, 4 bytes
// of each of its tokens; with 16-bit products for 2 inputs, 2 of 16 bits.

struct Rounded {   // the activations of a call
  int8_t* q;       // [tiles][inputs / 4][tokens of the tile][4], or [inputs / 2] and [2] of 16 bits if wide
  float* scale;    // [tiles][groups][tokens of the tile]
  float* sum;      // likewise: of the rounded values; unused where weights have lost their zeros
  int64_t rows;    // tokens of a tile, at most
  int offset;      // added to the values
  bool wide, sums;
};

template <class T>
static inline F load_in(const Call& c, int64_t at) { return fload((const T*)c.x + at); }

static int64_t tiles(const Call& c, const Rounded& a) { return (c.tokens + a.rows - 1) / a.rows; }
static int64_t first_of(const Call& c, const Rounded& a, int64_t tile) { return tile * c.tokens / tiles(c, a); }

// 16 values of each of R rows, 4 bytes of each row side by side: at p, at p + stride, ...
template <int R>
static inline void store_bytes(int8_t* p, int64_t stride, const I (&values)[R]) {
  Bytes bytes[R];
#pragma GCC unroll 4
  for (int r = 0; r < R; r++) bytes[r] = low_bytes(values[r]);
  store_fours(p, stride, bytes);
}
template <int R>
static inline void store_words(int8_t* p, int64_t stride, const I (&values)[R]) {
  Bytes first[R], second[R];
#pragma GCC unroll 4
  for (int r = 0; r < R; r++) low_words(values[r], first[r], second[r]);
  store_fours(p, stride, first);
  store_fours(p + 4 * stride, stride, second);
}

// R rows from `row` on, of the `rows` in the tile that begins with token `first`.
template <class T, int R>
static void round_rows(const Call& c, const Rounded& a, int64_t first, int64_t rows, int64_t row) {
  const int64_t groups = c.inputs / c.group, size = a.wide ? 2 : 1;
  int8_t* q = a.q + size * first * c.inputs + 4 * row;
  const I offset = iset(a.offset);
  for (int64_t g = 0; g < groups; g++) {
    const int64_t at = (first + row) * c.inputs + g * c.group, of = first * groups + g * rows + row;
    float largest[R];
    F inverse[R];
    I total[R];
    for (int r = 0; r < R; r++) {
      F most = fset(0.f);
      for (int64_t i = 0; i < c.group; i += 16) most = fmax_abs(most, load_in<T>(c, at + r * c.inputs + i));
      largest[r] = reduce_max(most);
      inverse[r] = fset(largest[r] > 0.f ? 127.f / largest[r] : 0.f);
      total[r] = izero();
    }
    for (int64_t i = 0; i < c.group; i += 16) {
      I values[R];
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) {
        values[r] = round_to_int(fmul(load_in<T>(c, at + r * c.inputs + i), inverse[r]));
        total[r] = iadd(total[r], values[r]);
        values[r] = iadd(values[r], offset);
      }
      int8_t* to = q + size * (g * c.group + i) * rows;
      if (a.wide) store_words(to, 4 * rows, values);
      else store_bytes(to, 4 * rows, values);
    }
    for (int r = 0; r < R; r++) {
      a.scale[of + r] = largest[r] / 127.f;
      if (a.sums) a.sum[of + r] = (float)reduce_add(total[r]);
    }
  }
}

template <class T>
static void round_tile(const Call& c, const Rounded& a, int64_t tile) {
  const int64_t first = first_of(c, a, tile), rows = first_of(c, a, tile + 1) - first;
  int64_t row = 0;
  for (; row + 4 <= rows; row += 4) round_rows<T, 4>(c, a, first, rows, row);
  for (; row + 2 <= rows; row += 2) round_rows<T, 2>(c, a, first, rows, row);
  for (; row < rows; row++) round_rows<T, 1>(c, a, first, rows, row);
}
