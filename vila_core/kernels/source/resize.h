// Pictures of three 8-bit channels made smaller or larger, columns first, then rows, as Pillow does it, to the bit: whole
// numbers with kPoint bits behind the point, rounded to 8 bits after each of the two. Plain loops over 16 lanes, which
// the compiler turns into the set's instructions.
constexpr int kPoint = 22, kChannels = 3;
constexpr int64_t kRowsAtOnce = 16;

static inline uint8_t to_byte(int32_t sum) {
  const int32_t v = sum >> kPoint;
  return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

// 16 rows, so that each value's rows lie side by side: [width * 3][16]. Behind the last row it is repeated.
static inline void lay_rows_side_by_side(const uint8_t* x, int64_t rows, int64_t width, int32_t* lanes) {
  const uint8_t* from[kRowsAtOnce];
  for (int64_t r = 0; r < kRowsAtOnce; r++) from[r] = x + (r < rows ? r : rows - 1) * width * kChannels;
  const int64_t count = width * kChannels, fours = count / 4;
  for (int64_t i = 0; i < fours; i++) {
    uint32_t four[kRowsAtOnce];
    for (int64_t r = 0; r < kRowsAtOnce; r++) memcpy(four + r, from[r] + 4 * i, 4);
    for (int j = 0; j < 4; j++)
      for (int64_t r = 0; r < kRowsAtOnce; r++) lanes[(4 * i + j) * kRowsAtOnce + r] = (int32_t)(four[r] >> 8 * j & 255);
  }
  for (int64_t i = 4 * fours; i < count; i++)
    for (int64_t r = 0; r < kRowsAtOnce; r++) lanes[i * kRowsAtOnce + r] = from[r][i];
}

// 16 rows [rows, width, 3] -> [rows, outputs, 3].
static inline void resize_columns(const uint8_t* x, int64_t rows, int64_t width, const Filter& f, uint8_t* y, int32_t* lanes) {
  lay_rows_side_by_side(x, rows, width, lanes);
  for (int64_t out = 0; out < f.outputs; out++) {
    const int32_t* weights = f.weights + out * f.taps;
    const int32_t* column = lanes + f.first[out] * kChannels * kRowsAtOnce;
    int32_t sums[kChannels * kRowsAtOnce];
    for (int32_t& sum : sums) sum = 1 << (kPoint - 1);
    for (int64_t tap = 0; tap < f.count[out]; tap++, column += kChannels * kRowsAtOnce)
      for (int64_t i = 0; i < kChannels * kRowsAtOnce; i++) sums[i] += weights[tap] * column[i];
    for (int64_t r = 0; r < rows; r++)
      for (int c = 0; c < kChannels; c++) y[(r * f.outputs + out) * kChannels + c] = to_byte(sums[c * kRowsAtOnce + r]);
  }
}

// Rows of values [., width] -> one row [width].
static inline void resize_row(const uint8_t* x, int64_t width, const int32_t* weights, int64_t taps, uint8_t* y) {
  constexpr int64_t kLanes = 64;
  for (int64_t at = 0; at < width; at += kLanes) {
    const int64_t lanes = width - at < kLanes ? width - at : kLanes;
    int32_t sums[kLanes];
    for (int32_t& sum : sums) sum = 1 << (kPoint - 1);
    if (lanes == kLanes) {
      for (int64_t tap = 0; tap < taps; tap++)
        for (int64_t i = 0; i < kLanes; i++) sums[i] += weights[tap] * x[tap * width + at + i];
    } else {
      for (int64_t tap = 0; tap < taps; tap++)
        for (int64_t i = 0; i < lanes; i++) sums[i] += weights[tap] * x[tap * width + at + i];
    }
    for (int64_t i = 0; i < lanes; i++) y[at + i] = to_byte(sums[i]);
  }
}

static void resize(const ResizeCall& c) {
  const int64_t out_row = c.columns.outputs * kChannels;
  uint8_t* between = scratch(kBetween, c.height * out_row);  // [height, columns' outputs, 3]
  const int64_t blocks = (c.height + kRowsAtOnce - 1) / kRowsAtOnce;
#pragma omp parallel
  {
    int32_t* lanes = (int32_t*)scratch(kWork, c.width * kChannels * kRowsAtOnce * 4);
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks; block++) {
      const int64_t row = block * kRowsAtOnce, rows = c.height - row < kRowsAtOnce ? c.height - row : kRowsAtOnce;
      resize_columns(c.x + row * c.width * kChannels, rows, c.width, c.columns, between + row * out_row, lanes);
    }
#pragma omp for schedule(static)
    for (int64_t out = 0; out < c.rows.outputs; out++)
      resize_row(between + c.rows.first[out] * out_row, out_row, c.rows.weights + out * c.rows.taps, c.rows.count[out],
                 c.y + out * out_row);
  }
}
