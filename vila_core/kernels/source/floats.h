// Linear layers with float weights, of models so small that it is the calls between the products that take the time.
//
// Weights lie in blocks of 16 outputs, [outputs / 16][inputs][16]. Nothing is rounded, and each output is summed from the
// first input to the last, whatever other tokens are there.

constexpr int64_t kLittleWork = 1 << 17;  // products that one thread is done with before others are awake

// R tokens from `first` on by B blocks.
template <class T, int R, int B>
[[gnu::noinline]] static void float_tile(const Call& c, int64_t first, int64_t block) {
  const float* weights = (const float*)c.weight + block * 16 * c.inputs;
  const T* x = (const T*)c.x + first * c.inputs;
  F sums[R][B];
#pragma GCC unroll 8
  for (int b = 0; b < B; b++) {
    const F start = c.bias ? fload(c.bias + 16 * (block + b)) : fset(0.f);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) sums[r][b] = start;
  }
  for (int64_t k = 0; k < c.inputs; k++) {
    F w[B];
#pragma GCC unroll 8
    for (int b = 0; b < B; b++) w[b] = fload(weights + (b * c.inputs + k) * 16);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      const F v = fset(widen_one(x[r * c.inputs + k]));
#pragma GCC unroll 8
      for (int b = 0; b < B; b++) sums[r][b] = fadd_mul(sums[r][b], v, w[b]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int b = 0; b < B; b++) fstore((T*)c.y + (first + r) * c.outputs + 16 * (block + b), sums[r][b]);
}

template <class T, int R, int B>
static void float_tile_of(const Call& c, int64_t rows, int64_t first, int64_t block) {
  if constexpr (R > 0) {
    if (rows == R) float_tile<T, R, B>(c, first, block);
    else float_tile_of<T, R - 1, B>(c, rows, first, block);
  }
}

template <class T>
static void float_linear(const Call* calls, int count) {
  const int64_t tokens = calls->tokens, tiles = (tokens + kAttendRows - 1) / kAttendRows;
  int64_t units = 0, work = 0;  // a unit: a tile of tokens by kAttendBlocks blocks
  for (int i = 0; i < count; i++) {
    units += (calls[i].outputs / 16 + kAttendBlocks - 1) / kAttendBlocks;
    work += tokens * calls[i].outputs * calls[i].inputs;
  }
#pragma omp parallel for schedule(static) if (work > kLittleWork)
  for (int64_t u = 0; u < units * tiles; u++) {
    int64_t column = u / tiles;
    const int64_t tile = u % tiles, first = tile * tokens / tiles, rows = (tile + 1) * tokens / tiles - first;
    const Call* c = calls;
    for (int64_t all; column >= (all = (c->outputs / 16 + kAttendBlocks - 1) / kAttendBlocks); c++) column -= all;
    const int64_t block = column * kAttendBlocks, left = c->outputs / 16 - block;
    if (left >= kAttendBlocks) float_tile_of<T, kAttendRows, kAttendBlocks>(*c, rows, first, block);
    else for (int64_t b = 0; b < left; b++) float_tile_of<T, kAttendRows, 1>(*c, rows, first, block + b);
  }
}
