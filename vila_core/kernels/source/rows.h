// What is done to each value or row between the products, in one pass over memory; float between.
constexpr int64_t kLittle = 8192;  // values that one thread is done with before others are awake

// x / (1 + 2^-t); what is left where 2^-t overflows is far below what is added to it.
static inline F gated(F x, F t) { return fmul(x, finverse(fadd(fset(1.f), power(fmin(fsub(fset(0.f), t), fset(126.f)))))); }

// GELU with the tanh approximation; tanh(u) by e^2u.
static inline F gelu_of(F v) {
  const F cube = fmul(fmul(v, v), v);
  return gated(v, fmul(fset(2 * 0.79788456f * kLog2e), fadd_mul(v, fset(0.044715f), cube)));
}

template <class T>
static inline void add_row(const T* x, const T* added, T* y, int64_t width) {
  for (int64_t i = 0; i < width; i += 16) fstore(y + i, fadd(fload(x + i), fload(added + i)));
}

// x / rms(x), rounded, times the weight. width: a multiple of 16, here and below.
template <class T>
static inline void rms_norm_row(const T* x, const T* weight, T* y, int64_t width, float eps) {
  F squares = fset(0.f);
  for (int64_t i = 0; i < width; i += 16) squares = fadd_mul(squares, fload(x + i), fload(x + i));
  const F factor = fset(1.f / std::sqrt(reduce_add(squares) / (float)width + eps));
  for (int64_t i = 0; i < width; i += 16) fstore(y + i, fmul(as_type<T>(fmul(fload(x + i), factor)), fload(weight + i)));
}

// (x - mean) / deviation * weight + bias.
template <class T>
static inline void layer_norm_row(const T* x, const T* weight, const T* bias, T* y, int64_t width, float eps) {
  F sum = fset(0.f), squares = fset(0.f);
  for (int64_t i = 0; i < width; i += 16) sum = fadd(sum, fload(x + i));
  const F mean = fset(reduce_add(sum) / (float)width);
  for (int64_t i = 0; i < width; i += 16) {
    const F off = fsub(fload(x + i), mean);
    squares = fadd_mul(squares, off, off);
  }
  const F factor = fset(1.f / std::sqrt(reduce_add(squares) / (float)width + eps));
  for (int64_t i = 0; i < width; i += 16)
    fstore(y + i, fadd_mul(fload(bias + i), fmul(fsub(fload(x + i), mean), factor), fload(weight + i)));
}

template <class T>
static void gelu_all(const T* x, T* y, int64_t count) {
#pragma omp parallel for schedule(static) if (count > kLittle)
  for (int64_t i = 0; i < count; i += 16) fstore(y + i, gelu_of(fload(x + i)));
}

// silu(gate) * up
template <class T>
static void silu_mul_all(const T* gate, const T* up, T* y, int64_t count) {
#pragma omp parallel for schedule(static) if (count > kLittle)
  for (int64_t i = 0; i < count; i += 16) {
    const F v = fload(gate + i);
    fstore(y + i, fmul(gated(v, fmul(v, fset(kLog2e))), fload(up + i)));
  }
}

// x += added, unless it is null; then x / rms(x) * weight.
template <class T>
static void rms_norm_all(T* x, const T* added, const T* weight, T* y, int64_t rows, int64_t width, float eps) {
#pragma omp parallel for schedule(static) if (rows * width > kLittle)
  for (int64_t row = 0; row < rows; row++) {
    if (added) add_row(x + row * width, added + row * width, x + row * width, width);
    rms_norm_row(x + row * width, weight, y + row * width, width, eps);
  }
}

// x += added, unless it is null; then normalised, unless there is no weight.
template <class T>
static void layer_norm_all(T* x, const T* added, const T* weight, const T* bias, T* y, int64_t rows, int64_t width, float eps) {
#pragma omp parallel for schedule(static) if (rows * width > kLittle)
  for (int64_t row = 0; row < rows; row++) {
    if (added) add_row(x + row * width, added + row * width, x + row * width, width);
    if (weight) layer_norm_row(x + row * width, weight, bias, y + row * width, width, eps);
  }
}

// Rotary positions, half-split: heads [heads, tokens, dim] with strides, cos and sin [tokens, dim]. dim: a multiple of 32.
template <class T>
static void rotate_all(const T* x, const T* cos, const T* sin, T* y, int64_t heads, int64_t tokens, int64_t dim, int64_t head_stride,
                       int64_t row_stride) {
  const int64_t half = dim / 2;
#pragma omp parallel for schedule(static) if (heads * tokens * dim > kLittle)
  for (int64_t row = 0; row < heads * tokens; row++) {
    const int64_t head = row / tokens, token = row % tokens;
    const T* from = x + head * head_stride + token * row_stride;
    T* to = y + row * dim;
    for (int64_t i = 0; i < half; i += 16) {
      const F a = fload(from + i), b = fload(from + half + i);
      const T *c = cos + token * dim + i, *s = sin + token * dim + i;
      fstore(to + i, fsub_mul(fmul(a, fload(c)), b, fload(s)));
      fstore(to + half + i, fadd_mul(fmul(b, fload(c + half)), a, fload(s + half)));
    }
  }
}

// Calls f with a null pointer of the type of values.
template <class Function>
static inline void with_type(int bfloat16, Function f) {
  if (bfloat16) f((uint16_t*)nullptr);
  else f((float*)nullptr);
}

static void gelu(const RowsCall& c) {
  with_type(c.bfloat16, [&](auto* t) {
    using P = decltype(t);
    gelu_all((P)c.x, (P)c.y, c.rows * c.width);
  });
}
static void silu_mul(const RowsCall& c) {
  with_type(c.bfloat16, [&](auto* t) {
    using P = decltype(t);
    silu_mul_all((P)c.x, (P)c.other, (P)c.y, c.rows * c.width);
  });
}
static void rms_norm(const RowsCall& c) {
  with_type(c.bfloat16, [&](auto* t) {
    using P = decltype(t);
    rms_norm_all((P)c.x, (P)nullptr, (P)c.weight, (P)c.y, c.rows, c.width, c.eps);
  });
}
static void layer_norm(const RowsCall& c) {
  with_type(c.bfloat16, [&](auto* t) {
    using P = decltype(t);
    layer_norm_all((P)c.x, (P)nullptr, (P)c.weight, (P)c.bias, (P)c.y, c.rows, c.width, c.eps);
  });
}
static void rotate(const RowsCall& c) {
  with_type(c.bfloat16, [&](auto* t) {
    using P = decltype(t);
    rotate_all((P)c.x, (P)c.other, (P)c.weight, (P)c.y, c.heads, c.rows, c.width, c.head_stride, c.row_stride);
  });
}
