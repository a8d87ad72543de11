// Compares the kernels of two instruction sets on made-up inputs, function by function over tables of shapes:
//
//     compare_sets scalar neon
//
// Both are given the same; outputs are filled with NaN before. A case fails if the norm of the difference is more than
// the limit of its function times the norm of the reference. The exit status is 1 if one fails, 2 if a set is not there.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "kernels.h"

extern "C" {
int vila_set(const char* name);
void vila_pack_int4(const uint8_t* values, uint8_t* packed, int64_t outputs, int64_t inputs);
void vila_pack_int8(const uint8_t* values, uint8_t* packed, int64_t outputs, int64_t inputs);
void vila_linear(const Call* calls, int count, int set);
void vila_attend(const AttendCall* call, int threads, int set);
void vila_attend_few(const AttendCall* call, int threads, int set);
void vila_decoder(const DecoderCall* call, int set);
void vila_tower(const TowerCall* call, int set);
void vila_gelu(const RowsCall* call, int set);
void vila_silu_mul(const RowsCall* call, int set);
void vila_rms_norm(const RowsCall* call, int set);
void vila_layer_norm(const RowsCall* call, int set);
void vila_rotate(const RowsCall* call, int set);
void vila_resize(const ResizeCall* call, int set);
}

namespace {

// --- values --------------------------------------------------------------------------------------

std::mt19937 generator(7);

float uniform(float low, float high) { return std::uniform_real_distribution<float>(low, high)(generator); }

uint16_t to_bfloat16(float v) {
  uint32_t bits;
  memcpy(&bits, &v, 4);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float from_bfloat16(uint16_t v) {
  const uint32_t bits = (uint32_t)v << 16;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

struct Values {  // float or bfloat16
  bool bfloat16;
  std::vector<float> floats;
  std::vector<uint16_t> halves;

  Values(bool short_, const std::vector<float>& from) : bfloat16(short_) {
    if (bfloat16) for (float v : from) halves.push_back(to_bfloat16(v));
    else floats = from;
  }
  void* data() { return bfloat16 ? (void*)halves.data() : (void*)floats.data(); }
  std::vector<double> wide() const {
    std::vector<double> all(floats.begin(), floats.end());
    for (uint16_t v : halves) all.push_back(from_bfloat16(v));
    return all;
  }
};

Values noise(bool bfloat16, int64_t count, float low = -1.f, float high = 1.f) {
  std::vector<float> values(count);
  for (float& v : values) v = uniform(low, high);
  return {bfloat16, values};
}

Values unwritten(bool bfloat16, int64_t count) { return {bfloat16, std::vector<float>(count, NAN)}; }

// --- verdicts ------------------------------------------------------------------------------------

constexpr int kShown = 5;  // failed cases of a function

int reference, tested;  // the two sets

struct Limit {
  double float32, bfloat16;
};

struct Record {
  int cases = 0, failed = 0;
  double worst = 0, limit = 0;
};

std::map<std::string, Record> records;  // by function and type

void judge(const char* name, const Limit& limit, const std::string& shape, const Values& wanted, const Values& got) {
  Record& record = records[std::string(name) + (wanted.bfloat16 ? " bfloat16" : " float32")];
  record.limit = wanted.bfloat16 ? limit.bfloat16 : limit.float32;
  const std::vector<double> a = wanted.wide(), b = got.wide();
  double norm = 0, difference = 0;
  for (size_t i = 0; i < a.size(); i++) {
    norm += a[i] * a[i];
    difference += (a[i] - b[i]) * (a[i] - b[i]);
  }
  const double relative = std::sqrt(difference / norm);
  record.cases++;
  if (relative <= record.limit && norm > 0) {
    record.worst = std::fmax(record.worst, relative);
    return;
  }
  record.failed++;
  if (record.failed > kShown) return;
  printf("FAILED %s %s: %s: differs by %g of the norm\n", name, wanted.bfloat16 ? "bfloat16" : "float32", shape.c_str(), relative);
}

// Runs a function that fills an output of `count` values under both sets and compares what they give.
template <class Run>
void compare(const char* name, const Limit& limit, const std::string& shape, bool bfloat16, int64_t count, Run run) {
  Values wanted = unwritten(bfloat16, count), got = unwritten(bfloat16, count);
  run(wanted.data(), reference);
  run(got.data(), tested);
  judge(name, limit, shape, wanted, got);
}

template <class... Sizes>
std::string text(const char* format, Sizes... sizes) {
  char line[200];
  snprintf(line, sizeof line, format, (long)sizes...);
  return line;
}

// --- linear layers -------------------------------------------------------------------------------

struct Layer {  // owns what a Call points to
  std::vector<uint8_t> packed, zero;
  std::vector<float> scale, bias;
  std::vector<uint16_t> half_scale;
  Call call{};

  Layer(bool bfloat16, int64_t outputs, int64_t inputs, int64_t group, int bits, bool half, bool with_bias) {
    std::vector<uint8_t> values(outputs * inputs);
    for (uint8_t& v : values) v = (uint8_t)(generator() % (1 << bits));
    packed.resize(outputs * inputs * bits / 8);
    (bits == 4 ? vila_pack_int4 : vila_pack_int8)(values.data(), packed.data(), outputs, inputs);
    for (int64_t i = 0; i < outputs * (inputs / group); i++) {
      zero.push_back((uint8_t)(generator() % (1 << bits)));
      half_scale.push_back((uint16_t)(0x1800 + generator() % 0x800));  // 0.002 to 0.008
      scale.push_back(uniform(0.002f, 0.008f));
    }
    for (int64_t i = 0; i < outputs; i++) bias.push_back(uniform(-1.f, 1.f));
    call.weight = packed.data();
    call.scale = half ? (const void*)half_scale.data() : scale.data();
    call.zero = zero.data();
    call.bias = with_bias ? bias.data() : nullptr;
    call.outputs = outputs;
    call.inputs = inputs;
    call.group = group;
    call.bits = bits;
    call.bfloat16 = bfloat16;
    call.half_scale = half;
  }
  Layer(const Layer&) = delete;
};

void compare_linear(bool bfloat16) {
  const Limit limit{1e-6, 2e-3};  // one of few outputs may be rounded the other way
  const int64_t sizes[][2] = {{16, 16}, {64, 16}, {96, 48}, {128, 128}, {256, 32}, {512, 128}, {576, 576}};  // inputs, group
  for (int bits : {4, 8})
    for (bool half : {false, true})
      for (const auto& [inputs, group] : sizes)
        for (int64_t outputs : {16, 48, 80})
          for (int64_t tokens : {1, 2, 3, 4, 5, 8, 9, 13, 24, 25, 40}) {
            Layer layer(bfloat16, outputs, inputs, group, bits, half, outputs > 16);
            Values x = noise(bfloat16, tokens * inputs);
            compare("linear", limit, text("%ld tokens, %ld outputs, %ld inputs in groups of %ld, %ld bits", tokens, outputs, inputs, group, bits),
                    bfloat16, tokens * outputs, [&](void* y, int set) {
                      Call call = layer.call;
                      call.x = x.data();
                      call.y = y;
                      call.tokens = tokens;
                      vila_linear(&call, 1, set);
                    });
          }
}

void compare_float_linear(bool bfloat16) {
  const Limit limit{1e-6, 5e-4};
  for (int64_t inputs : {16, 64, 176})
    for (int64_t outputs : {16, 48, 80})
      for (int64_t tokens : {1, 2, 3, 4, 5, 8, 9, 13, 40}) {
        Values x = noise(bfloat16, tokens * inputs), weight = noise(false, outputs * inputs), bias = noise(false, outputs);
        compare("float linear", limit, text("%ld tokens, %ld outputs, %ld inputs", tokens, outputs, inputs), bfloat16, tokens * outputs,
                [&](void* y, int set) {
                  Call call{};
                  call.x = x.data();
                  call.weight = (const uint8_t*)weight.data();
                  call.bias = outputs > 16 ? (const float*)bias.data() : nullptr;
                  call.y = y;
                  call.tokens = tokens;
                  call.outputs = outputs;
                  call.inputs = call.group = inputs;
                  call.bits = 32;
                  call.bfloat16 = bfloat16;
                  vila_linear(&call, 1, set);
                });
      }
}

// One input that is NaN: so must be all outputs, whatever place it has.
void keep_nan(bool bfloat16) {
  Record& record = records[std::string("linear of NaN") + (bfloat16 ? " bfloat16" : " float32")];
  for (int bits : {4, 8})
    for (int64_t place = 0; place < 96; place += 5) {
      Layer layer(bfloat16, 32, 96, 48, bits, false, true);
      std::vector<float> inputs(96, 1.f);
      inputs[place] = NAN;
      Values x{bfloat16, inputs}, y{bfloat16, std::vector<float>(32, 0.f)};
      Call call = layer.call;
      call.x = x.data();
      call.y = y.data();
      call.tokens = 1;
      vila_linear(&call, 1, tested);
      bool kept = true;
      for (double v : y.wide()) kept = kept && std::isnan(v);
      record.cases++;
      record.failed += !kept;
    }
}

// Three layers that read one input, and its output's rows side by side for each of them.
void compare_together(bool bfloat16) {
  const Limit limit{1e-6, 5e-4};
  for (int bits : {4, 8})
    for (int64_t tokens : {1, 6, 30}) {
      Layer first(bfloat16, 48, 128, 64, bits, false, true), second(bfloat16, 16, 128, 64, bits, false, false),
          third(bfloat16, 80, 128, 64, bits, false, true);
      Values x = noise(bfloat16, tokens * 128);
      compare("linear together", limit, text("%ld tokens, %ld bits", tokens, bits), bfloat16, tokens * (48 + 16 + 80),
              [&](void* y, int set) {
                Call calls[] = {first.call, second.call, third.call};
                for (Call& call : calls) {
                  call.x = x.data();
                  call.y = y;
                  call.tokens = tokens;
                  y = (uint8_t*)y + tokens * call.outputs * (bfloat16 ? 2 : 4);
                }
                vila_linear(calls, 3, set);
              });
    }
}

// --- pictures ------------------------------------------------------------------------------------

// Whole numbers: so no difference is allowed. Weights of made-up filters, some below zero, that sum up to about 1.
void compare_resize(bool bfloat16) {
  if (bfloat16) return;
  const int64_t taps = 5;
  for (int64_t height : {1, 15, 33})
    for (int64_t width : {1, 7, 50})
      for (int64_t size : {1, 30, 70}) {
        std::vector<uint8_t> picture(height * width * 3), made(size * size * 3);
        for (uint8_t& v : picture) v = generator() % 2 ? (uint8_t)generator() : 255;
        std::vector<int32_t> first[2], counts[2], weights[2];
        Filter filters[2];
        for (int way = 0; way < 2; way++) {
          const int64_t inputs = way ? height : width;
          for (int64_t i = 0; i < size; i++) {
            first[way].push_back((int32_t)(i * inputs / size));
            counts[way].push_back((int32_t)std::min(taps, inputs - first[way].back()));
            for (int64_t tap = 0; tap < taps; tap++) weights[way].push_back((int32_t)uniform(-1e6f, 2.7e6f));
          }
          filters[way] = {first[way].data(), counts[way].data(), weights[way].data(), size, taps};
        }
        compare("resize", {0, 0}, text("%ld x %ld to %ld", width, height, size), false, size * size * 3, [&](void* y, int set) {
          const ResizeCall call{picture.data(), made.data(), height, width, filters[0], filters[1]};
          vila_resize(&call, set);
          for (size_t i = 0; i < made.size(); i++) ((float*)y)[i] = 1.f + made[i];
        });
      }
}

// --- values and rows -----------------------------------------------------------------------------

void compare_values(bool bfloat16) {
  const Limit limit{1e-6, 5e-4};
  for (int64_t rows : {1, 3, 40})
    for (int64_t width : {16, 48, 640}) {
      Values x = noise(bfloat16, rows * width, -6.f, 6.f), other = noise(bfloat16, rows * width);
      for (auto [name, function] : {std::pair("gelu", vila_gelu), std::pair("silu_mul", vila_silu_mul)})
        compare(name, limit, text("%ld rows of %ld", rows, width), bfloat16, rows * width, [&](void* y, int set) {
          RowsCall call{};
          call.x = x.data();
          call.other = other.data();
          call.y = y;
          call.rows = rows;
          call.width = width;
          call.bfloat16 = bfloat16;
          function(&call, set);
        });
    }
}

void compare_norms(bool bfloat16) {
  const Limit limit{1e-6, 1e-3};
  for (int64_t rows : {1, 3, 20})
    for (int64_t width : {16, 64, 640, 1152}) {
      Values x = noise(bfloat16, rows * width, -1.f, 3.f), weight = noise(bfloat16, width, 0.5f, 1.5f), bias = noise(bfloat16, width);
      for (auto [name, function] : {std::pair("rms_norm", vila_rms_norm), std::pair("layer_norm", vila_layer_norm)})
        compare(name, limit, text("%ld rows of %ld", rows, width), bfloat16, rows * width, [&](void* y, int set) {
          RowsCall call{};
          call.x = x.data();
          call.weight = weight.data();
          call.bias = bias.data();
          call.y = y;
          call.rows = rows;
          call.width = width;
          call.eps = 1e-6f;
          call.bfloat16 = bfloat16;
          function(&call, set);
        });
    }
}

void compare_rotate(bool bfloat16) {
  const Limit limit{1e-6, 5e-4};
  for (int64_t heads : {1, 3, 14})
    for (int64_t tokens : {1, 5, 33})
      for (int64_t dim : {32, 64, 128}) {
        Values x = noise(bfloat16, tokens * heads * dim), cos = noise(bfloat16, tokens * dim), sin = noise(bfloat16, tokens * dim);
        compare("rotate", limit, text("%ld heads, %ld tokens, %ld dims", heads, tokens, dim), bfloat16, heads * tokens * dim,
                [&](void* y, int set) {
                  RowsCall call{};
                  call.x = x.data();
                  call.other = cos.data();
                  call.weight = sin.data();
                  call.y = y;
                  call.rows = tokens;
                  call.width = dim;
                  call.heads = heads;
                  call.head_stride = dim;
                  call.row_stride = heads * dim;
                  call.bfloat16 = bfloat16;
                  vila_rotate(&call, set);
                });
      }
}

// --- attention -----------------------------------------------------------------------------------

Values mask_of(bool bfloat16, int64_t queries, int64_t keys) {
  std::vector<float> values(queries * keys);
  for (int64_t i = 0; i < queries * keys; i++) values[i] = i % keys && generator() % 3 == 0 ? -INFINITY : 0.f;
  return {bfloat16, values};
}

enum Seen { kAll, kCausal, kMasked };

struct AttendShape {
  int64_t heads, kv_heads, queries, keys, dim;
};

// Keys and values lie in a cache with more rows; the output as [queries, heads, dim].
void compare_attend_of(const char* name, void (*function)(const AttendCall*, int, int), const AttendShape& s, bool bfloat16,
                       int eight_bits) {
  const Limit limit{2e-6, 5e-3}, rounded{2e-2, 2e-2};
  const int64_t cache_rows = s.keys + 3;
  for (Seen seen : {kAll, kCausal, kMasked}) {
    if (seen == kCausal && s.queries > s.keys) continue;
    Values q = noise(bfloat16, s.heads * s.queries * s.dim, -2.f, 2.f), k = noise(bfloat16, s.kv_heads * cache_rows * s.dim, -2.f, 2.f);
    Values v = noise(bfloat16, s.kv_heads * cache_rows * s.dim), mask = mask_of(bfloat16, s.queries, s.keys);
    for (int threads : {1, 3})
      compare(name, eight_bits ? rounded : limit,
              text("%ld heads of %ld, %ld queries, %ld keys, %ld dims, seen %ld", s.heads, s.kv_heads, s.queries, s.keys, s.dim, seen),
              bfloat16, s.heads * s.queries * s.dim, [&](void* out, int set) {
                AttendCall call{};
                call.q = q.data();
                call.k = k.data();
                call.v = v.data();
                call.mask = seen == kMasked ? mask.data() : nullptr;
                call.out = out;
                call.heads = s.heads;
                call.kv_heads = s.kv_heads;
                call.queries = s.queries;
                call.keys = s.keys;
                call.dim = s.dim;
                call.q_head = s.queries * s.dim;
                call.k_head = call.v_head = cache_rows * s.dim;
                call.q_row = call.k_row = call.v_row = call.out_head = s.dim;
                call.out_row = s.heads * s.dim;
                call.scale = 1.f / std::sqrt((float)s.dim);
                call.causal = seen == kCausal;
                call.eight_bits = eight_bits;
                call.bfloat16 = bfloat16;
                function(&call, threads, set);
              });
  }
}

void compare_attend(bool bfloat16) {
  const AttendShape many[] = {{4, 2, 5, 37, 32},  {2, 2, 17, 17, 72}, {3, 1, 33, 64, 64}, {14, 2, 9, 65, 64},
                              {2, 1, 4, 300, 128}, {1, 1, 140, 200, 36}, {2, 2, 16, 16, 2}, {2, 1, 8, 33, 256}};
  const AttendShape few[] = {{4, 2, 1, 1, 32}, {4, 2, 1, 37, 32}, {14, 2, 1, 65, 64}, {12, 2, 3, 600, 128}, {2, 2, 2, 17, 96}};
  for (const AttendShape& shape : many) {
    compare_attend_of("attend", vila_attend, shape, bfloat16, 0);
    compare_attend_of("attend in 8 bits", vila_attend, shape, bfloat16, 1);
  }
  for (const AttendShape& shape : few) compare_attend_of("attend_few", vila_attend_few, shape, bfloat16, 0);
}

// --- stacks of layers ----------------------------------------------------------------------------

void compare_decoder(bool bfloat16) {
  const Limit limit{1e-3, 1e-2};  // a difference of an ulp may round an activation to the next of its 8 bits
  const int64_t count = 2, width = 128, heads = 4, kv_heads = 2, dim = 32, inner = 192, cache_rows = 48, past = 11;
  const int64_t kept = count * kv_heads * cache_rows * dim;
  for (int64_t tokens : {1, 3, 4, 17, 30})
    for (bool masked : {false, true}) {
      std::vector<std::vector<Values>> norms(count);
      std::vector<std::deque<Layer>> linears(count);
      std::vector<DecoderLayer> layers(count);
      for (int64_t i = 0; i < count; i++) {
        for (int j = 0; j < 2; j++) norms[i].push_back(noise(bfloat16, width, 0.5f, 1.5f));
        const int64_t sizes[][2] = {{heads * dim, width}, {kv_heads * dim, width}, {kv_heads * dim, width}, {width, heads * dim},
                                    {inner, width}, {inner, width}, {width, inner}};
        for (const auto& [outputs, inputs] : sizes) linears[i].emplace_back(bfloat16, outputs, inputs, 32, 4, true, outputs == width);
        const auto& l = linears[i];
        layers[i] = {norms[i][0].data(), norms[i][1].data(), {l[0].call, l[1].call, l[2].call}, l[3].call, {l[4].call, l[5].call}, l[6].call};
      }
      Values norm = noise(bfloat16, width, 0.5f, 1.5f), hidden = noise(bfloat16, tokens * width);
      Values cos = noise(bfloat16, tokens * dim), sin = noise(bfloat16, tokens * dim), mask = mask_of(bfloat16, tokens, past + tokens);
      const Values keys = noise(bfloat16, kept), values = noise(bfloat16, kept);
      std::vector<int64_t> rows;
      for (int64_t i = 0; i < tokens; i++) rows.push_back(past + i);
      std::vector<Values> caches;
      compare("decoder", limit, text("%ld tokens, mask %ld", tokens, masked), bfloat16, tokens * width, [&](void* out, int set) {
        caches.push_back(keys);
        caches.push_back(values);
        DecoderCall call{};
        call.layers = layers.data();
        call.norm = norm.data();
        call.hidden = hidden.data();
        call.cos = cos.data();
        call.sin = sin.data();
        call.mask = masked ? mask.data() : nullptr;
        call.keys = caches.end()[-2].data();
        call.values = caches.end()[-1].data();
        call.out = out;
        call.rows = rows.data();
        call.count = count;
        call.tokens = tokens;
        call.width = width;
        call.heads = heads;
        call.kv_heads = kv_heads;
        call.dim = dim;
        call.cache_rows = cache_rows;
        call.extent = past + tokens;
        call.eps = 1e-6f;
        call.scale = 1.f / std::sqrt((float)dim);
        call.bfloat16 = bfloat16;
        vila_decoder(&call, set);
      });
      judge("decoder's keys", limit, text("%ld tokens, mask %ld", tokens, masked), caches[0], caches[2]);
      judge("decoder's values", limit, text("%ld tokens, mask %ld", tokens, masked), caches[1], caches[3]);
    }
}

void compare_tower(bool bfloat16) {
  const Limit limit{2e-3, 1e-2};
  const int64_t count = 2, heads = 2, inner = 208;
  for (int64_t width : {144, 64})
    for (int64_t pictures : {1, 2})
      for (int64_t tokens : {1, 17, 36}) {
        std::vector<std::vector<Values>> norms(count);
        std::vector<std::deque<Layer>> linears(count);
        std::vector<TowerLayer> layers(count);
        for (int64_t i = 0; i < count; i++) {
          for (int j = 0; j < 4; j++) norms[i].push_back(noise(bfloat16, width, 0.5f, 1.5f));
          const int64_t sizes[][2] = {{width, width}, {width, width}, {width, width}, {width, width}, {inner, width}, {width, inner}};
          for (const auto& [outputs, inputs] : sizes) linears[i].emplace_back(bfloat16, outputs, inputs, inputs, 8, false, true);
          const auto& l = linears[i];
          auto& n = norms[i];
          layers[i] = {n[0].data(), n[1].data(),
                       n[2].data(), n[3].data(),
                       {l[0].call, l[1].call, l[2].call}, l[3].call, l[4].call, l[5].call};
        }
        Values hidden = noise(bfloat16, pictures * tokens * width);
        compare("tower", limit, text("%ld pictures of %ld tokens, %ld wide", pictures, tokens, width), bfloat16, pictures * tokens * width,
                [&](void* out, int set) {
                  TowerCall call{};
                  call.layers = layers.data();
                  call.hidden = hidden.data();
                  call.out = out;
                  call.count = count;
                  call.pictures = pictures;
                  call.tokens = tokens;
                  call.width = width;
                  call.heads = heads;
                  call.eps = 1e-6f;
                  call.scale = 1.f / std::sqrt((float)width / heads);
                  call.bfloat16 = bfloat16;
                  vila_tower(&call, set);
                });
      }
}

}  // namespace

int main(int count, char** names) {
  if (count != 3) return printf("usage: compare_sets REFERENCE SET\n"), 2;
  reference = vila_set(names[1]);
  tested = vila_set(names[2]);
  if (reference < 0 || tested < 0) return printf("this processor or library lacks %s\n", names[reference < 0 ? 1 : 2]), 2;
  for (bool bfloat16 : {false, true})
    for (auto* compare_all : {compare_linear, compare_float_linear, keep_nan, compare_together, compare_resize, compare_values,
                              compare_norms, compare_rotate, compare_attend, compare_decoder, compare_tower})
      compare_all(bfloat16);
  int passed = 0, failed = 0;
  for (const auto& [name, record] : records) {
    printf("%-26s %5d cases, %d failed; differs by up to %.1e of the norm, limit %.0e\n", name.c_str(), record.cases, record.failed,
           record.worst, record.limit);
    passed += record.cases - record.failed;
    failed += record.failed;
  }
  printf("%s against %s: %d passed, %d failed\n", names[2], names[1], passed, failed);
  return failed > 0;
}
