// Norm and rotation of one head by one simdgroup, with the roundings of MLX's norm and of its rotation after it.
// The squares: READS neighbours a lane by fma in their order, then the lanes. The normed value is rounded to T before
// the weight and after it. The rotation pairs elements half a head apart; of its two products the first is fused.
// In parts, so that what needs no sum, or not even the head, is done while loads are under way.
template <typename T, int HD, int READS>
struct HeadTurn {
  enum { PAIRS = (HD / 2 + 31) / 32 };
  T near[PAIRS], far[PAIRS], near_weight[PAIRS], far_weight[PAIRS];
  float cosine[PAIRS], sine[PAIRS];
  float total;

  METAL_FUNC void weights(const device T* weight, uint lane) {
    for (int p = 0; p < PAIRS; ++p) {
      const uint d = lane + 32 * p;
      if (d < HD / 2) {
        near_weight[p] = weight[d];
        far_weight[p] = weight[d + HD / 2];
      }
    }
  }

  METAL_FUNC void angles(float position, float log2_base, uint lane) {
    for (int p = 0; p < PAIRS; ++p) {
      const uint d = lane + 32 * p;
      const float frequency = exp2_precise(mul_rn(-div_rn(float(d), float(HD / 2)), log2_base));
      const float angle = mul_rn(position, frequency);
      cosine[p] = cos_of_rope(angle);
      sine[p] = sin_of_rope(angle);
    }
  }

  METAL_FUNC void values(const device T* in, uint lane) {
    for (int p = 0; p < PAIRS; ++p) {
      const uint d = lane + 32 * p;
      if (d < HD / 2) {
        near[p] = in[d];
        far[p] = in[d + HD / 2];
      }
    }
    total = 0.0f;
    if (lane * READS < HD) {
      const Pack<T, READS> own = load_pack<T, READS>(in + lane * READS);
      for (int i = 0; i < READS; ++i) {
        const float value = float(own.at[i]);
        total = fused(value, value, total);
      }
    }
  }

  METAL_FUNC void write(device T* out, float eps, uint lane) {
    const float scale = rsqrt_precise(add_rn(div_rn(simd_sum(total), float(HD)), eps));
    for (int p = 0; p < PAIRS; ++p) {
      const uint d = lane + 32 * p;
      if (d < HD / 2) {
        const float a = float(T(mul_rn(float(near_weight[p]), float(T(mul_rn(float(near[p]), scale))))));
        const float b = float(T(mul_rn(float(far_weight[p]), float(T(mul_rn(float(far[p]), scale))))));
        out[d] = T(fused(a, cosine[p], -mul_rn(b, sine[p])));
        out[d + HD / 2] = T(fused(a, sine[p], mul_rn(b, cosine[p])));
      }
    }
  }
};

template <typename T, int HD, int READS>
METAL_FUNC void turn_head(
    const device T* in,
    const device T* weight,
    device T* out,
    float eps,
    float position,
    float log2_base,
    uint lane) {
  HeadTurn<T, HD, READS> turn;
  turn.weights(weight, lane);
  turn.values(in, lane);
  turn.angles(position, log2_base, lane);
  turn.write(out, eps, lane);
}
