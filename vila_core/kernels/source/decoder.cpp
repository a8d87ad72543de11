// A decoder's layers one after the other, in one call: for a few tokens, calling each step from outside takes as long as
// a fifth of the work.
#include <omp.h>

#include <cstring>

#include "kernels.h"
#include "steps.h"

namespace {

constexpr int64_t kFewQueries = 4;  // read the keys where they lie; see attention_few.cpp

using vila::Values;

struct Space {  // what lies between the steps, [tokens, ...] each
  Values hidden, normal, qkv, turned, mixed, gate_up, product, added;
};

void multiply(const DecoderCall& c, const Call* layers, int count, const Values& x, Values& y) {
  vila::multiply(layers, count, c.tokens, x.data(), y.data(), c.set);
}

void keep(const DecoderCall& c, const uint16_t* from, int64_t head_stride, int64_t row_stride, uint16_t* to) {
  for (int64_t head = 0; head < c.kv_heads; head++)
    for (int64_t token = 0; token < c.tokens; token++)
      memcpy(to + (head * c.cache_rows + c.rows[token]) * c.dim, from + head * head_stride + token * row_stride, 2 * c.dim);
}

void attend(const DecoderCall& c, Space& s, uint16_t* keys, uint16_t* values) {
  const int64_t q_width = c.heads * c.dim, kv_width = c.kv_heads * c.dim, turned = c.tokens * c.dim;
  const uint16_t *q = s.qkv.data(), *k = q + c.tokens * q_width, *v = k + c.tokens * kv_width;
  uint16_t* turned_k = s.turned.data() + c.tokens * q_width;
  vila_rotate(q, c.cos, c.sin, s.turned.data(), c.heads, c.tokens, c.dim, c.dim, q_width);
  vila_rotate(k, c.cos, c.sin, turned_k, c.kv_heads, c.tokens, c.dim, c.dim, kv_width);
  keep(c, turned_k, turned, c.dim, keys);
  keep(c, v, c.dim, kv_width, values);
  const int64_t head = c.cache_rows * c.dim;
  const AttendCall call{s.turned.data(), keys, values, c.mask, s.mixed.data(), c.heads, c.kv_heads, c.tokens, c.extent,
                        c.dim, turned, c.dim, head, c.dim, head, c.dim, c.dim, q_width, c.scale, c.tokens > 1 && !c.mask, 0};
  (c.tokens < kFewQueries ? vila_attend_few : vila_attend)(&call, omp_get_max_threads());
}

}  // namespace

// All of a layer's q, k and v together read one input, and so do gate and up.
extern "C" void vila_decoder(const DecoderCall* call) {
  const DecoderCall& c = *call;
  const int64_t inner = c.layers->gate_up->outputs, all = c.tokens * c.width, heads = c.tokens * (c.heads + 2 * c.kv_heads) * c.dim;
  static thread_local Space s;
  for (Values* values : {&s.hidden, &s.normal, &s.added}) values->resize(all);
  s.qkv.resize(heads);
  s.turned.resize(heads);
  s.mixed.resize(c.tokens * c.heads * c.dim);
  s.gate_up.resize(2 * c.tokens * inner);
  s.product.resize(c.tokens * inner);
  memcpy(s.hidden.data(), c.hidden, 2 * all);
  vila_rms_norm(s.hidden.data(), c.layers->input_norm, s.normal.data(), c.tokens, c.width, c.eps);
  for (int64_t i = 0; i < c.count; i++) {
    const DecoderLayer& layer = c.layers[i];
    const int64_t of_cache = i * c.kv_heads * c.cache_rows * c.dim;
    multiply(c, layer.qkv, 3, s.normal, s.qkv);
    attend(c, s, c.keys + of_cache, c.values + of_cache);
    multiply(c, &layer.out, 1, s.mixed, s.added);
    vila_add_rms_norm(s.hidden.data(), s.added.data(), layer.post_norm, s.normal.data(), c.tokens, c.width, c.eps);
    multiply(c, layer.gate_up, 2, s.normal, s.gate_up);
    vila_silu_mul(s.gate_up.data(), s.gate_up.data() + c.tokens * inner, s.product.data(), c.tokens * inner);
    multiply(c, &layer.down, 1, s.product, s.added);
    const bool last = i + 1 == c.count;
    vila_add_rms_norm(s.hidden.data(), s.added.data(), last ? c.norm : c.layers[i + 1].input_norm,
                      last ? c.out : s.normal.data(), c.tokens, c.width, c.eps);
  }
}
