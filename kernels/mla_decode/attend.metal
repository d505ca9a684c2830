// Attention of one head over its split of the cache, in float32: a simdgroup takes every GROUPS-th key with a running
// maximum, a lane the words lane, lane + 32, ... of a key, each word two bfloat16. `out` gets the weighted sum of the
// latents, divided by the sum of the weights where there is one split; `greatest` and `total` end as the threadgroup's.
const uint lane = thread_index_in_simdgroup;
const uint group = simdgroup_index_in_threadgroup;
const uint head = threadgroup_position_in_grid.y;
const uint b = threadgroup_position_in_grid.z / SPLITS;
const uint split = threadgroup_position_in_grid.z % SPLITS;
const uint size = kv_latent_shape[2];
const uint keys = (size + SPLITS - 1) / SPLITS;
const uint stop = size < (split + 1) * keys ? size : (split + 1) * keys;
const device T* query = q_nope + b * q_nope_strides[0] + head * q_nope_strides[1];
const device T* query_place = q_pe + b * q_pe_strides[0] + head * q_pe_strides[1];
const device uint* latent = (const device uint*)(kv_latent + b * kv_latent_strides[0]);
const device uint* place = (const device uint*)(k_pe + b * k_pe_strides[0]);
const uint latent_row = uint(kv_latent_strides[2]) / 2;
const uint place_row = uint(k_pe_strides[2]) / 2;
constexpr int WORDS = (RANK / 2 + 31) / 32;
constexpr int PLACES = (ROPE / 2 + 31) / 32;
threadgroup float maxima[32];
threadgroup float sums[32];
threadgroup float tile[GROUPS * 64];
float q[2 * (WORDS + PLACES)];
float reached[2 * WORDS];
for (int j = 0; j < WORDS; ++j) {
  const uint at = lane + 32 * j;
  q[2 * j] = at < RANK / 2 ? mul_rn(float(query[2 * at]), float_of(uint(SCALE))) : 0.0f;
  q[2 * j + 1] = at < RANK / 2 ? mul_rn(float(query[2 * at + 1]), float_of(uint(SCALE))) : 0.0f;
  reached[2 * j] = 0.0f;
  reached[2 * j + 1] = 0.0f;
}
for (int j = 0; j < PLACES; ++j) {
  const uint at = lane + 32 * j;
  q[2 * (WORDS + j)] = at < ROPE / 2 ? mul_rn(float(query_place[2 * at]), float_of(uint(SCALE))) : 0.0f;
  q[2 * (WORDS + j) + 1] = at < ROPE / 2 ? mul_rn(float(query_place[2 * at + 1]), float_of(uint(SCALE))) : 0.0f;
}
float greatest = float_of(0xff7fffffu);
float total = 0.0f;
for (uint key = split * keys + group; key < stop; key += GROUPS) {
  uint words[WORDS];
  float score = 0.0f;
  for (int j = 0; j < WORDS; ++j) {
    const uint at = lane + 32 * j;
    words[j] = at < RANK / 2 ? latent[key * latent_row + at] : 0u;
    score = fused(q[2 * j], low_half(words[j]), score);
    score = fused(q[2 * j + 1], high_half(words[j]), score);
  }
  for (int j = 0; j < PLACES; ++j) {
    const uint at = lane + 32 * j;
    const uint word = at < ROPE / 2 ? place[key * place_row + at] : 0u;
    score = fused(q[2 * (WORDS + j)], low_half(word), score);
    score = fused(q[2 * (WORDS + j) + 1], high_half(word), score);
  }
  score = simd_sum(score);
  const float before = greatest;
  greatest = greatest < score ? score : greatest;
  const float factor = exp_fast(before - greatest);
  const float weight = exp_fast(score - greatest);
  total = fused(total, factor, weight);
  for (int j = 0; j < WORDS; ++j) {
    reached[2 * j] = fused(weight, low_half(words[j]), mul_rn(reached[2 * j], factor));
    reached[2 * j + 1] = fused(weight, high_half(words[j]), mul_rn(reached[2 * j + 1], factor));
  }
}
if (lane == 0) {
  maxima[group] = greatest;
}
threadgroup_barrier(mem_flags::mem_threadgroup);
const float own = greatest;
greatest = simd_max(lane < GROUPS ? maxima[lane] : own);
const float to_greatest = exp_fast(own - greatest);
if (lane == 0) {
  sums[group] = mul_rn(total, to_greatest);
}
threadgroup_barrier(mem_flags::mem_threadgroup);
total = simd_sum(lane < GROUPS ? sums[lane] : 0.0f);
const uint row = (b * H + head) * SPLITS + split;
const float last = SPLITS == 1 ? div_rn(1.0f, total) : 1.0f;
for (int j = 0; j < WORDS; ++j) {
  tile[group * 64 + 2 * lane] = mul_rn(reached[2 * j], to_greatest);
  tile[group * 64 + 2 * lane + 1] = mul_rn(reached[2 * j + 1], to_greatest);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint at = group * 32 + lane;
  if (at < 64 && 64 * j + at < RANK) {
    float sum = 0.0f;
    for (int other = 0; other < GROUPS; ++other) {
      sum = add_rn(sum, tile[other * 64 + at]);
    }
    out[row * RANK + 64 * j + at] = O(mul_rn(sum, last));
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}
