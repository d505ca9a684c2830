// turn_head.h for every head of q and k, and the heads of v as they are, a simdgroup a head and token, out of one
// joined projection: joined (B, L, (HQ + 2 * HK) * HD) -> q (B, HQ, L, HD), k and v (B, HK, L, HD).
const uint lane = thread_index_in_simdgroup;
const uint head = threadgroup_position_in_grid.y;
const uint token = threadgroup_position_in_grid.z;
const uint b = token / L;
const uint l = token % L;
const uint from = (token * (HQ + 2 * HK) + head) * HD;
const float position = float(offsets[OFFSETS == 1 ? 0 : b] + int(l));
if (head < HQ) {
  turn_head<T, HD, READS>(
      joined + from, q_weight, q + ((b * HQ + head) * L + l) * HD,
      float_of(uint(Q_EPS)), position, float_of(uint(LOG2_BASE)), lane);
} else if (head < HQ + HK) {
  turn_head<T, HD, READS>(
      joined + from, k_weight, k + ((b * HK + head - HQ) * L + l) * HD,
      float_of(uint(K_EPS)), position, float_of(uint(LOG2_BASE)), lane);
} else {
  const uint to = ((b * HK + head - HQ - HK) * L + l) * HD;
  for (uint d = lane; d < HD; d += 32) {
    v[to + d] = joined[from + d];
  }
}
