// A vision tower's layers one after the other, in one call: pictures one at a time, whose values stay in the caches.
#include <omp.h>

#include <cstring>

#include "kernels.h"
#include "steps.h"

using vila::multiply;
using vila::Values;

// All of a layer's q, k and v together read one input.
extern "C" void vila_tower(const TowerCall* call) {
  const TowerCall& c = *call;
  const int64_t all = c.tokens * c.width, inner = c.tokens * c.layers->fc1.outputs, dim = c.width / c.heads;
  static thread_local Values normal, qkv, mixed, wide, added;
  for (Values* values : {&normal, &mixed, &added}) values->resize(all);
  qkv.resize(3 * all);
  wide.resize(inner);
  const uint16_t *q = qkv.data(), *k = q + all, *v = k + all;
  const AttendCall attend{q, k, v, nullptr, mixed.data(), c.heads, c.heads, c.tokens, c.tokens, dim, dim, c.width, dim, c.width,
                          dim, c.width, dim, c.width, c.scale, 0, 1};
  memcpy(c.out, c.hidden, 2 * c.pictures * all);
  for (int64_t picture = 0; picture < c.pictures; picture++) {
    uint16_t* hidden = c.out + picture * all;
    vila_layer_norm(hidden, c.layers->weight1, c.layers->bias1, normal.data(), c.tokens, c.width, c.eps);
    for (const TowerLayer* layer = c.layers; layer < c.layers + c.count; layer++) {
      multiply(layer->qkv, 3, c.tokens, normal.data(), qkv.data(), c.set);
      vila_attend(&attend, omp_get_max_threads());
      multiply(&layer->out, 1, c.tokens, mixed.data(), added.data(), c.set);
      vila_add_layer_norm(hidden, added.data(), layer->weight2, layer->bias2, normal.data(), c.tokens, c.width, c.eps);
      multiply(&layer->fc1, 1, c.tokens, normal.data(), wide.data(), c.set);
      vila_gelu(wide.data(), wide.data(), inner);
      multiply(&layer->fc2, 1, c.tokens, wide.data(), added.data(), c.set);
      const bool last = layer + 1 == c.layers + c.count;
      vila_add_layer_norm(hidden, added.data(), last ? nullptr : layer[1].weight1, last ? nullptr : layer[1].bias1, normal.data(),
                          c.tokens, c.width, c.eps);
    }
  }
}
