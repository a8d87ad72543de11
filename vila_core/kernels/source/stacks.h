// A decoder's or a tower's layers one after the other, in one call: for a few tokens, calling each step from outside takes
// as long as a fifth of the work.
constexpr int64_t kFewQueries = 4;  // read the keys where they lie; see attention_few.h

// Hands out parts of one piece of memory.
template <class T>
struct Room {
  uint8_t* at;
  static int64_t bytes(int64_t count) { return up(count * (int64_t)sizeof(T), 64); }
  T* take(int64_t count) {
    T* taken = (T*)at;
    at += bytes(count);
    return taken;
  }
};

// Layers that read x [tokens, inputs] together, each into its place behind the one before.
template <class T>
static void multiply(const Call* layers, int count, int64_t tokens, const T* x, T* y) {
  Call calls[3];
  for (int i = 0; i < count; i++) {
    calls[i] = layers[i];
    calls[i].x = x;
    calls[i].y = y;
    calls[i].tokens = tokens;
    y += tokens * layers[i].outputs;
  }
  linear_of<T>(calls, count);
}

template <class T>
struct DecoderSpace {  // what lies between the steps, [tokens, ...] each
  T *hidden, *normal, *qkv, *turned, *mixed, *gate_up, *product, *added;
};

template <class T>
static DecoderSpace<T> decoder_space(const DecoderCall& c) {
  const int64_t all = c.tokens * c.width, heads = c.tokens * (c.heads + 2 * c.kv_heads) * c.dim;
  const int64_t mixed = c.tokens * c.heads * c.dim, inner = c.tokens * c.layers->gate_up->outputs;
  using R = Room<T>;
  R room{scratch(kBetween, 3 * R::bytes(all) + 2 * R::bytes(heads) + R::bytes(mixed) + R::bytes(2 * inner) + R::bytes(inner))};
  return {room.take(all), room.take(all), room.take(heads), room.take(heads), room.take(mixed),
          room.take(2 * inner), room.take(inner), room.take(all)};
}

template <class T>
static void keep(const DecoderCall& c, const T* from, int64_t head_stride, int64_t row_stride, T* to) {
  for (int64_t head = 0; head < c.kv_heads; head++)
    for (int64_t token = 0; token < c.tokens; token++)
      memcpy(to + (head * c.cache_rows + c.rows[token]) * c.dim, from + head * head_stride + token * row_stride, sizeof(T) * c.dim);
}

template <class T>
static void attend_layer(const DecoderCall& c, const DecoderSpace<T>& s, T* keys, T* values) {
  const int64_t q_width = c.heads * c.dim, kv_width = c.kv_heads * c.dim, turned = c.tokens * c.dim;
  const T *q = s.qkv, *k = q + c.tokens * q_width, *v = k + c.tokens * kv_width;
  T* turned_k = s.turned + c.tokens * q_width;
  rotate_all(q, (const T*)c.cos, (const T*)c.sin, s.turned, c.heads, c.tokens, c.dim, c.dim, q_width);
  rotate_all(k, (const T*)c.cos, (const T*)c.sin, turned_k, c.kv_heads, c.tokens, c.dim, c.dim, kv_width);
  keep(c, turned_k, turned, c.dim, keys);
  keep(c, v, c.dim, kv_width, values);
  const int64_t head = c.cache_rows * c.dim;
  const AttendCall call{s.turned, keys, values, c.mask, s.mixed, c.heads, c.kv_heads, c.tokens, c.extent,
                        c.dim, turned, c.dim, head, c.dim, head, c.dim, c.dim, q_width, c.scale, c.tokens > 1 && !c.mask, 0,
                        c.bfloat16};
  (c.tokens < kFewQueries ? attend_few : attend)(call, omp_get_max_threads());
}

// All of a layer's q, k and v together read one input, and so do gate and up.
template <class T>
static void decoder_of(const DecoderCall& c) {
  const int64_t inner = c.tokens * c.layers->gate_up->outputs;
  const DecoderSpace<T> s = decoder_space<T>(c);
  memcpy(s.hidden, c.hidden, sizeof(T) * c.tokens * c.width);
  rms_norm_all(s.hidden, (const T*)nullptr, (const T*)c.layers->input_norm, s.normal, c.tokens, c.width, c.eps);
  for (int64_t i = 0; i < c.count; i++) {
    const DecoderLayer& layer = c.layers[i];
    const int64_t of_cache = i * c.kv_heads * c.cache_rows * c.dim;
    multiply(layer.qkv, 3, c.tokens, s.normal, s.qkv);
    attend_layer(c, s, (T*)c.keys + of_cache, (T*)c.values + of_cache);
    multiply(&layer.out, 1, c.tokens, s.mixed, s.added);
    rms_norm_all(s.hidden, s.added, (const T*)layer.post_norm, s.normal, c.tokens, c.width, c.eps);
    multiply(layer.gate_up, 2, c.tokens, s.normal, s.gate_up);
    silu_mul_all(s.gate_up, s.gate_up + inner, s.product, inner);
    multiply(&layer.down, 1, c.tokens, s.product, s.added);
    const bool last = i + 1 == c.count;
    rms_norm_all(s.hidden, s.added, (const T*)(last ? c.norm : c.layers[i + 1].input_norm), last ? (T*)c.out : s.normal, c.tokens,
                 c.width, c.eps);
  }
}

static void decoder(const DecoderCall& c) {
  if (c.bfloat16) decoder_of<uint16_t>(c);
  else decoder_of<float>(c);
}

// Pictures one at a time, whose values stay in the caches. All of a layer's q, k and v together read one input.
template <class T>
static void tower_of(const TowerCall& c) {
  const int64_t all = c.tokens * c.width, inner = c.tokens * c.layers->fc1.outputs, dim = c.width / c.heads;
  using R = Room<T>;
  R room{scratch(kBetween, 3 * R::bytes(all) + R::bytes(3 * all) + R::bytes(inner))};
  T *normal = room.take(all), *mixed = room.take(all), *added = room.take(all), *qkv = room.take(3 * all), *wide = room.take(inner);
  const AttendCall seen{qkv, qkv + all, qkv + 2 * all, nullptr, mixed, c.heads, c.heads, c.tokens, c.tokens, dim, dim, c.width, dim,
                        c.width, dim, c.width, dim, c.width, c.scale, 0, c.layers->qkv->bits != 32, c.bfloat16};
  memcpy(c.out, c.hidden, sizeof(T) * c.pictures * all);
  for (int64_t picture = 0; picture < c.pictures; picture++) {
    T* hidden = (T*)c.out + picture * all;
    layer_norm_all(hidden, (const T*)nullptr, (const T*)c.layers->weight1, (const T*)c.layers->bias1, normal, c.tokens, c.width, c.eps);
    for (const TowerLayer* layer = c.layers; layer < c.layers + c.count; layer++) {
      multiply(layer->qkv, 3, c.tokens, normal, qkv);
      attend(seen, omp_get_max_threads());
      multiply(&layer->out, 1, c.tokens, mixed, added);
      layer_norm_all(hidden, added, (const T*)layer->weight2, (const T*)layer->bias2, normal, c.tokens, c.width, c.eps);
      multiply(&layer->fc1, 1, c.tokens, normal, wide);
      gelu_all(wide, wide, inner);
      multiply(&layer->fc2, 1, c.tokens, wide, added);
      const bool last = layer + 1 == c.layers + c.count;
      layer_norm_all(hidden, added, last ? nullptr : (const T*)layer[1].weight1, last ? nullptr : (const T*)layer[1].bias1, normal,
                     c.tokens, c.width, c.eps);
    }
  }
}

static void tower(const TowerCall& c) {
  if (c.bfloat16) tower_of<uint16_t>(c);
  else tower_of<float>(c);
}
