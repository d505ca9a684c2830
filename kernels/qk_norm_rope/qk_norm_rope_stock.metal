// turn_head.h for every head of q and k, a simdgroup a head and token. q (B, L, HQ * HD) -> (B, HQ, L, HD), k likewise.
const uint lane = thread_index_in_simdgroup;
const uint head = threadgroup_position_in_grid.y;
const uint token = threadgroup_position_in_grid.z;
const uint b = token / L;
const uint l = token % L;
const float position = float(offsets[OFFSETS == 1 ? 0 : b] + int(l));
if (head < HQ) {
  turn_head<T, HD, READS>(
      q + (token * HQ + head) * HD, q_weight, q_out + ((b * HQ + head) * L + l) * HD,
      float_of(uint(Q_EPS)), position, float_of(uint(LOG2_BASE)), lane);
} else {
  const uint own = head - HQ;
  turn_head<T, HD, READS>(
      k + (token * HK + own) * HD, k_weight, k_out + ((b * HK + own) * L + l) * HD,
      float_of(uint(K_EPS)), position, float_of(uint(LOG2_BASE)), lane);
}
