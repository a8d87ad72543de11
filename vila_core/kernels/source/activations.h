// Activations rounded to 8 bits for each token and group; see linear.h.
//
// Tokens are cut into tiles of nearly equal size. A tile's values lie as the products read them: for 4 inputs, 4 bytes
// of each of its tokens.
//
// Where products of two bytes are added in 16 bits (kHalves), two large neighbours would overflow with large weights.
// Such four inputs are halved, and what is missing is multiplied apart: few are, and the sums stay exact.

struct Rest {      // of halved inputs
  int32_t four;    // their number
  int8_t values[4];
};

struct Rounded {   // the activations of a call
  int8_t* q;       // [tiles][inputs / 4][tokens of the tile][4]
  float* scale;    // [tiles][groups][tokens of the tile]
  float* sum;      // likewise: of the rounded values; unused where weights have lost their zeros
  int64_t rows;    // tokens of a tile, at most
  int offset;      // added to the values
  bool sums;
  Rest* rest;      // [tokens][inputs / 4], or null where nothing is halved
  int32_t* rests;  // [tokens], how many
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

// Halves those of 16 values, from input `input` of a token on, that could overflow.
static inline I halve_large(const Rounded& a, I values, int64_t token, int64_t inputs, int64_t input) {
  const int large = large_fours(values);
  if (!large) return values;
  int32_t all[16];
  istore((uint8_t*)all, values);
  for (int four = 0; four < 4; four++) {
    if (!(large >> four & 1)) continue;
    Rest& rest = a.rest[token * (inputs / 4) + a.rests[token]++];
    rest.four = (int32_t)(input / 4 + four);
    for (int i = 0; i < 4; i++) {
      rest.values[i] = (int8_t)(all[4 * four + i] / 2);
      all[4 * four + i] -= rest.values[i];
    }
  }
  return iload((const uint8_t*)all);
}

// R rows from `row` on, of the `rows` in the tile that begins with token `first`.
template <class T, int R>
static void round_rows(const Call& c, const Rounded& a, int64_t first, int64_t rows, int64_t row) {
  const int64_t groups = c.inputs / c.group;
  int8_t* q = a.q + first * c.inputs + 4 * row;
  const I offset = iset(a.offset);
  for (int r = 0; r < R && a.rest; r++) a.rests[first + row + r] = 0;
  for (int64_t g = 0; g < groups; g++) {
    const int64_t at = (first + row) * c.inputs + g * c.group, of = first * groups + g * rows + row;
    float largest[R];
    F inverse[R];
    I total[R];
    for (int r = 0; r < R; r++) {
      F most = fset(0.f);
      for (int64_t i = 0; i < c.group; i += 16) most = fmax_abs(most, load_in<T>(c, at + r * c.inputs + i));
      largest[r] = reduce_most(most);
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
        if constexpr (kHalves)
          if (a.rest) values[r] = halve_large(a, values[r], first + row + r, c.inputs, g * c.group + i);
      }
      store_bytes(q + (g * c.group + i) * rows, 4 * rows, values);
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
