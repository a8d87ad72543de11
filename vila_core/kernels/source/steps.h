// What the stacks of layers have in common; see decoder.cpp and tower.cpp.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"

namespace vila {

using Values = std::vector<uint16_t>;  // bfloat16

// Layers that read x [tokens, inputs] together, each into its place behind the one before.
inline void multiply(const Call* layers, int count, int64_t tokens, const uint16_t* x, uint16_t* y, int set) {
  Call calls[3];
  for (int i = 0; i < count; i++) {
    calls[i] = layers[i];
    calls[i].x = x;
    calls[i].y = y;
    calls[i].tokens = tokens;
    calls[i].bfloat16 = 1;
    y += tokens * layers[i].outputs;
  }
  vila_linear(calls, count, set);
}

}  // namespace vila
