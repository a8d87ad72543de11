// What the instruction sets share.
#pragma once

#include <cstdint>

struct Call {
  const void* x;          // [tokens, inputs] float or bfloat16
  const uint8_t* weight;  // as above
  const float* scale;     // [outputs / 16][groups][16]
  const float* shift;     // scale * zero, likewise
  const float* bias;      // [outputs] or null
  void* y;                // [tokens, outputs], type of x
  int64_t tokens, outputs, inputs, group;
  int bits, bfloat16;
};

struct Quantised {  // the activations
  int8_t* q;         // [tokens, inputs]
  float* scale;      // [tokens, groups]
  float* sum;        // [tokens, groups]: of the values
};

struct AttendCall {  // all bfloat16; strides in elements, dims of a row side by side
  const uint16_t *q, *k, *v;  // [heads, queries, dim], [kv_heads, keys, dim] twice
  const uint16_t* mask;       // [queries, keys], added to the scores, or null
  uint16_t* out;              // [heads, queries, dim]
  int64_t heads, kv_heads, queries, keys, dim;
  int64_t q_head, q_row, k_head, k_row, v_head, v_row, out_head, out_row;
  float scale;
};

uint8_t* thread_scratch(int64_t bytes);  // of this thread, 64-byte aligned, valid until its next call
