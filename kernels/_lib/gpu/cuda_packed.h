// Rows of packed weights times a vector on CUDA as MLX 0.32.4 multiplies them, for the packings that cuda_qmm.h leaves out:
// affine integers of 4 or 8 bits, or floats of 4 bits (e2m1) or 8 (e4m3) whose scales have 8 bits: e4m3 for a group of 16,
// else a power of two (e8m0).
// Affine rows: fewer than 8 vectors by a warp a row (PackedRow), from 8 on by tensor cores (PackedTile); weights are
// dequantised to T by one fused step.
// Floats of chosen experts, however many vectors: float32 throughout, the scale last (FloatRow). Floats of a projection
// that is not gathered: PackedRow, and FloatRow from compute capability 10 on.

constexpr unsigned ALL_LANES = 0xffffffffu;

// Sign, two exponent bits, one fraction bit.
__device__ __forceinline__ float float_of_4(unsigned code) {
  return __uint_as_float(((code & 7u) << 22) | ((code & 8u) << 28)) * 0x1p126f;
}

// Sign, four exponent bits, three fraction bits; all ones are a NaN.
__device__ __forceinline__ float float_of_8(unsigned code) {
  const float value = __uint_as_float(((code & 127u) << 20) | ((code & 128u) << 24)) * 0x1p120f;
  return (code & 127u) == 127u ? __uint_as_float(0x7fc00000u) : value;
}

// The scale of a group of floats; a power of all ones is a NaN.
template <int GROUP>
__device__ __forceinline__ float float_scale(unsigned code) {
  if constexpr (GROUP == 16) {
    return float_of_8(code);
  } else {
    return __uint_as_float(code == 0u ? 0x400000u : code == 255u ? 0x7fc00000u : code << 23);
  }
}

// COUNT pairs of neighbours from a multiple of 16 bytes on.
template <int COUNT>
__device__ __forceinline__ void load_pairs(unsigned (&pairs)[COUNT], const void* from) {
  const uint4* fours = static_cast<const uint4*>(from);
#pragma unroll
  for (int i = 0; i < COUNT / 4; ++i) {
    const uint4 four = fours[i];
    pairs[4 * i] = four.x;
    pairs[4 * i + 1] = four.y;
    pairs[4 * i + 2] = four.z;
    pairs[4 * i + 3] = four.w;
  }
}

// The sum of what the lanes of a warp have, in each of them.
__device__ __forceinline__ float over_lanes(float sum) {
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    sum = __fadd_rn(sum, __shfl_xor_sync(ALL_LANES, sum, lanes));
  }
  return sum;
}

template <typename T, int BITS, int GROUP, bool FLOATS>
struct Packed {
  using P = Pair<T>;
  using Pairs = typename P::type;

  static __device__ __forceinline__ Pairs both(T value) {
    Pairs pair;
    pair.x = value;
    pair.y = value;
    return pair;
  }

  template <typename S>
  static __device__ __forceinline__ Pairs scale_of(S scale) {
    if constexpr (FLOATS) {
      return both(T(float_scale<GROUP>(scale)));
    } else {
      return both(scale);
    }
  }

  // What is added to q * scale: the bias, or for floats the zero that changes no product.
  template <typename S>
  static __device__ __forceinline__ Pairs bias_of(S bias) {
    if constexpr (FLOATS) {
      return P::twice(0x8000);
    } else {
      return both(bias);
    }
  }

  // The dequantised weights of the two codes in the low bits.
  static __device__ __forceinline__ Pairs weights_of(unsigned codes, Pairs scale, Pairs bias) {
    Pairs q;
    if constexpr (!FLOATS) {
      q = BITS == 4 ? P::from_nibbles((codes & 15u) | ((codes & 240u) << 12)) : P::from_bytes(codes);
    } else if constexpr (BITS == 4) {
      q.x = T(float_of_4(codes));
      q.y = T(float_of_4(codes >> 4));
    } else {
      q.x = T(float_of_8(codes));
      q.y = T(float_of_8(codes >> 8));
    }
    return __hfma2(q, scale, bias);
  }
};

// One row of K weights by a warp: 16 neighbours a lane and 16 accumulators of type T, of 8-bit weights 8 neighbours and 8
// float32 accumulators.
template <typename T, int K, int BITS, int GROUP, bool FLOATS>
struct PackedRow {
  static constexpr int EACH = BITS == 8 ? 8 : 16;
  static constexpr int STEP = 32 * EACH;
  static constexpr int STEPS = (K + STEP - 1) / STEP;
  using Of = Packed<T, BITS, GROUP, FLOATS>;
  using Pairs = typename Of::Pairs;

  uint2 words[STEPS];
  Pairs scale[STEPS], bias[STEPS];

  static __device__ __forceinline__ bool within(int step, int lane) {
    return K % STEP == 0 || step * STEP + lane * EACH < K;
  }

  template <typename S>
  __device__ __forceinline__ void request(const uint32_t* w, const S* scales, const S* biases, size_t row, int lane) {
    const uint2* from = reinterpret_cast<const uint2*>(w + row * (K * BITS / 32)) + lane;
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
      if (within(step, lane)) {
        const size_t group = row * (K / GROUP) + (step * STEP + lane * EACH) / GROUP;
        words[step] = from[step * 32];
        scale[step] = Of::scale_of(scales[group]);
        bias[step] = Of::bias_of(biases[group]);
      }
    }
  }

  __device__ __forceinline__ float multiply(const T* x, int lane) const {
    float wide[EACH];
    Pairs narrow[EACH / 2];
#pragma unroll
    for (int i = 0; i < EACH / 2; ++i) {
      wide[2 * i] = wide[2 * i + 1] = 0.0f;
      narrow[i] = Of::P::twice(0);
    }
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
      if (!within(step, lane)) {
        continue;
      }
      unsigned pairs[EACH / 2];
      load_pairs(pairs, x + step * STEP + lane * EACH);
#pragma unroll
      for (int i = 0; i < EACH / 2; ++i) {
        const unsigned word = i < EACH / 4 ? words[step].x : words[step].y;
        const Pairs weight = Of::weights_of(word >> (2 * BITS * (i % (EACH / 4))), scale[step], bias[step]);
        const Pairs value = reinterpret_cast<const Pairs&>(pairs[i]);
        if (BITS == 8) {
          const float2 w = floats(weight), v = floats(value);
          wide[2 * i] = fmaf(v.x, w.x, wide[2 * i]);
          wide[2 * i + 1] = fmaf(v.y, w.y, wide[2 * i + 1]);
        } else {
          narrow[i] = __hfma2(value, weight, narrow[i]);
        }
      }
    }
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < EACH / 2; ++i) {
      const float2 slots = floats(narrow[i]);
      sum = __fadd_rn(sum, BITS == 8 ? wide[2 * i] : slots.x);
      sum = __fadd_rn(sum, BITS == 8 ? wide[2 * i + 1] : slots.y);
    }
    return over_lanes(sum);
  }
};

// One row of K floats by a warp: 16 bytes of neighbours a lane, which lie in one group or fill two. Each group that a lane
// has begins two sums in float32, of 4 bits one of the even and one of the odd neighbours, of 8 bits one of the first two and
// one of the last two of four; what they come to is added to the lane's sum times the group's scale by one fused step.
template <typename T, int K, int BITS, int GROUP>
struct FloatRow {
  static constexpr int EACH = 128 / BITS;
  static constexpr int STEP = 32 * EACH;
  static constexpr int STEPS = (K + STEP - 1) / STEP;
  static constexpr int GROUPS = EACH < GROUP ? 1 : EACH / GROUP;
  static constexpr int PAIRS = 16 / BITS;  // of neighbours in a word
  using Pairs = typename Pair<T>::type;
  static_assert(K % EACH == 0, "a row is whole shares of a lane");

  uint4 words[STEPS];
  float scale[STEPS][GROUPS];

  static __device__ __forceinline__ bool within(int step, int lane) {
    return K % STEP == 0 || step * STEP + lane * EACH < K;
  }

  template <typename S>
  __device__ __forceinline__ void request(const uint32_t* w, const S* scales, const S*, size_t row, int lane) {
    const uint4* from = reinterpret_cast<const uint4*>(w + row * (K * BITS / 32)) + lane;
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
      if (within(step, lane)) {
        const size_t group = row * (K / GROUP) + (step * STEP + lane * EACH) / GROUP;
        words[step] = from[step * 32];
#pragma unroll
        for (int i = 0; i < GROUPS; ++i) {
          scale[step][i] = float_scale<GROUP>(scales[group + i]);
        }
      }
    }
  }

  // Adds the products of a word's codes with their neighbours of x.
  static __device__ __forceinline__ void add(float (&sums)[2], unsigned word, const unsigned* pairs) {
#pragma unroll
    for (int i = 0; i < PAIRS; ++i) {
      const unsigned codes = word >> (2 * BITS * i);
      const float2 v = floats(reinterpret_cast<const Pairs&>(pairs[i]));
      if constexpr (BITS == 4) {
        sums[0] = fmaf(float_of_4(codes), v.x, sums[0]);
        sums[1] = fmaf(float_of_4(codes >> 4), v.y, sums[1]);
      } else {
        sums[i] = fmaf(float_of_8(codes), v.x, sums[i]);
        sums[i] = fmaf(float_of_8(codes >> 8), v.y, sums[i]);
      }
    }
  }

  __device__ __forceinline__ float multiply(const T* x, int lane) const {
    float sum = 0.0f;
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
      if (!within(step, lane)) {
        continue;
      }
      unsigned pairs[EACH / 2];
      load_pairs(pairs, x + step * STEP + lane * EACH);
      const unsigned own[4] = {words[step].x, words[step].y, words[step].z, words[step].w};
#pragma unroll
      for (int group = 0; group < GROUPS; ++group) {
        float sums[2] = {0.0f, 0.0f};
#pragma unroll
        for (int i = group * (4 / GROUPS); i < (group + 1) * (4 / GROUPS); ++i) {
          add(sums, own[i], pairs + i * PAIRS);
        }
        sum = fmaf(__fadd_rn(sums[0], sums[1]), scale[step][group], sum);
      }
    }
    return over_lanes(sum);
  }
};

// A row of a chosen expert, where no tensor core takes it.
template <typename T, int K, int BITS, int GROUP, bool FLOATS>
struct ChosenRow : PackedRow<T, K, BITS, GROUP, FLOATS> {};
template <typename T, int K, int BITS, int GROUP>
struct ChosenRow<T, K, BITS, GROUP, true> : FloatRow<T, K, BITS, GROUP> {};

// A row of a projection that is not gathered, times one vector.
template <typename T, int K, int BITS, int GROUP, bool FLOATS>
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
struct DenseRow : ChosenRow<T, K, BITS, GROUP, FLOATS> {};
#else
struct DenseRow : PackedRow<T, K, BITS, GROUP, FLOATS> {};
#endif

// The sums of rows `first`.. of some matrices, all of them requested before the first is used.
template <typename Row, typename T, typename S, int MATRICES, int ROWS>
__device__ __forceinline__ void multiply_rows(
    float (&sums)[MATRICES][ROWS], const T* x, const uint32_t* const (&w)[MATRICES], const S* const (&scales)[MATRICES],
    const S* const (&biases)[MATRICES], size_t first, int lane) {
  Row rows[MATRICES][ROWS];
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
#pragma unroll
    for (int m = 0; m < MATRICES; ++m) {
      rows[m][r].request(w[m], scales[m], biases[m], first + r, lane);
    }
  }
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
#pragma unroll
    for (int m = 0; m < MATRICES; ++m) {
      sums[m][r] = rows[m][r].multiply(x, lane);
    }
  }
}

// Sixteen affine rows of K weights by a warp on tensor cores; rows 0..7 and 8..15 may lie apart. Within a step the tensor core
// aligns all products before it adds them, so that a lane may take four neighbours where the layout has two pairs.
template <typename T, int K, int BITS, int GROUP>
struct PackedTile {
  using Of = Packed<T, BITS, GROUP, false>;
  using Pairs = typename Of::Pairs;
  static_assert(K % 16 == 0, "a row is whole steps");

  // Four codes from element k of a row on, in the low bits.
  static __device__ __forceinline__ unsigned four_codes(const uint32_t* row, int k) {
    return BITS == 8 ? row[k / 4] : row[k / 8] >> (4 * (k % 8));
  }

  // c[0]: the sum of row lane / 4 of w1; c[2]: of w2.
  template <typename S>
  static __device__ __forceinline__ void multiply(
      float (&c)[4], const T* x, const uint32_t* w1, const uint32_t* w2, const S* s1, const S* s2, const S* z1,
      const S* z2, size_t first, size_t second, int lane) {
    const size_t rows[2] = {first + lane / 4, second + lane / 4};
    const uint32_t* words[2] = {w1 + rows[0] * (K * BITS / 32), w2 + rows[1] * (K * BITS / 32)};
    const S* scales[2] = {s1 + rows[0] * (K / GROUP), s2 + rows[1] * (K / GROUP)};
    const S* biases[2] = {z1 + rows[0] * (K / GROUP), z2 + rows[1] * (K / GROUP)};
    c[0] = c[1] = c[2] = c[3] = 0.0f;
#pragma unroll 4
    for (int step = 0; step < K / 16; ++step) {
      const int k = step * 16 + lane % 4 * 4;
      const uint2 b = *reinterpret_cast<const uint2*>(x + k);
      unsigned a[4];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const unsigned codes = four_codes(words[half], k);
        const Pairs scale = Of::scale_of(scales[half][k / GROUP]);
        const Pairs bias = Of::bias_of(biases[half][k / GROUP]);
        const Pairs low = Of::weights_of(codes, scale, bias);
        const Pairs high = Of::weights_of(codes >> (2 * BITS), scale, bias);
        a[half] = reinterpret_cast<const unsigned&>(low);
        a[2 + half] = reinterpret_cast<const unsigned&>(high);
      }
      Of::P::mma(c, a, b.x, b.y);
    }
  }
};

// A row's sum as stored, and the bias of its row added to it where it has one.
template <bool BIASED, typename T, typename B>
__device__ __forceinline__ T with_bias(float sum, const B* bias, size_t row) {
  if constexpr (BIASED) {
    return T(__fadd_rn(float(T(sum)), float(bias[row])));
  } else {
    return T(sum);
  }
}

// (clip(up) + 1) * (g * sigmoid(alpha * g)) of g = min(gate, limit), each step rounded to T. A NaN stays.
template <typename T>
__device__ __forceinline__ T clamped_swiglu(T gate, T up, float alpha, float limit) {
  const float g = float(gate) > limit ? limit : float(gate);
  const float below = float(up) < -limit ? -limit : float(up);
  const float u = below > limit ? limit : below;
  const T sigmoid = mlx::core::cu::Sigmoid{}(T(__fmul_rn(alpha, g)));
  return T(__fmul_rn(float(T(__fadd_rn(u, 1.0f))), float(T(__fmul_rn(g, float(sigmoid))))));
}

template <bool CLAMPED, typename T>
__device__ __forceinline__ T activation(T gate, T up, float alpha, float limit) {
  if constexpr (CLAMPED) {
    return clamped_swiglu(gate, up, alpha, limit);
  } else {
    return swiglu(gate, up);
  }
}
