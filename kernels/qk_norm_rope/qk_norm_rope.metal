// Norm and rotation of every head of q and k, one simdgroup a head and token, READS neighbouring elements a lane.
// The norm is in float32 rounded to T, as its own kernel would store it; the rotation pairs elements half a head
// apart, which lie 16 lanes apart, in float32 rounded to T. q (B, L, HQ * HD) -> (B, HQ, L, HD), k likewise.
const uint lane = thread_index_in_simdgroup;
const uint head = threadgroup_position_in_grid.y;
const uint token = threadgroup_position_in_grid.z;
const uint b = token / L;
const uint l = token % L;
const bool of_q = head < HQ;
const uint own_head = of_q ? head : head - HQ;
const uint from = of_q ? (token * HQ + own_head) * HD : (token * HK + own_head) * HD;
const uint to = of_q ? ((b * HQ + own_head) * L + l) * HD : ((b * HK + own_head) * L + l) * HD;
float values[READS];
float total = 0.0f;
for (int i = 0; i < READS; ++i) {
  const uint at = from + lane * READS + i;
  values[i] = float(of_q ? q[at] : k[at]);
  total = add_rn(total, mul_rn(values[i], values[i]));
}
total = simd_sum(total);
const float scale = rsqrt_precise(add_rn(div_rn(total, float(HD)), of_q ? eps[0] : eps[1]));
const float position = float(offsets[OFFSETS == 1 ? 0 : b] + int(l));
for (int i = 0; i < READS; ++i) {
  const uint d = lane * READS + i;
  const float weight = float(of_q ? q_weight[d] : k_weight[d]);
  const float value = float(T(mul_rn(weight, mul_rn(values[i], scale))));
  const float other = simd_shuffle_xor(value, 16);
  const float angle = mul_rn(position, frequencies[d % (HD / 2)]);
  const float cosine = cos_fast(angle);
  const float sine = sin_fast(angle);
  const float turned = lane < 16 ? add_rn(mul_rn(value, cosine), -mul_rn(other, sine))
                                 : add_rn(mul_rn(other, sine), mul_rn(value, cosine));
  if (of_q) {
    q_out[to + d] = T(turned);
  } else {
    k_out[to + d] = T(turned);
  }
}
