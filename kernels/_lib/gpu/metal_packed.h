// Rows of packed weights times a vector for the packings that metal_qmv.h leaves out, as MLX 0.32.4's Metal kernels
// round them. BITS, GROUP and FLOATS say how a row is packed: affine integers of 4 or 8 bits, or floats of 4 bits (e2m1)
// or 8 (e4m3) whose scales have 8 bits: e4m3 for a group of 16, else a power of two (e8m0).
//
// The order is metal_qmv.h's: a lane takes VALUES neighbours of each block of 32 * VALUES, two words of weights in MLX's
// fast kernel and one in its generic one. 4 bits are added up in fours, 8 bits one by one. Affine 8-bit weights leave x
// as it is and add it up one by one; floats have no bias, so that no sum of x is made, and scale * dot rounds on its own.

#pragma METAL fp contract(on)
METAL_FUNC float dot_of_one(float dot, float x, float q) {
  return dot + x * q;
}

METAL_FUNC float dot_of_floats(thread const float* x, thread const float* q) {
  return x[0] * q[0] + x[1] * q[1] + x[2] * q[2] + x[3] * q[3];
}
#pragma METAL fp contract(off)

// Halves have the same fields in wider places: one exact product moves the exponent.
METAL_FUNC float float_of_4(uint code) {
  const half size = as_type<half>(ushort((code & 7) << 9)) * half(16384.0f);
  return float((code & 8) != 0 ? -size : size);
}

// All ones are a NaN.
METAL_FUNC float float_of_8(uint code) {
  const uint size = code & 127;
  const uint bits = (size << 7) | (((size + 1) >> 7) << 14) | ((code >> 7 & 1) << 15);
  return float(as_type<half>(ushort(bits)) * half(256.0f));
}

template <int GROUP, bool FLOATS, typename S>
METAL_FUNC float scale_of(S scale) {
  if (!FLOATS) {
    return float(scale);
  }
  if (GROUP == 16) {
    return float_of_8(uint(scale));
  }
  const uint power = uint(scale);
  return as_type<float>(power == 0 ? 0x400000u : power << 23);
}

// Fills `values` with x as a row of weights takes it; returns the sum of x where a bias needs it.
template <int BITS, bool FLOATS, int VALUES, typename T>
METAL_FUNC float load_packed(const device T* x, thread float* values) {
  if (BITS == 4 && !FLOATS) {
    return load_slice<VALUES>(x, values);
  }
  float sum = 0.0f;
  for (int i = 0; i < VALUES; ++i) {
    values[i] = float(x[i]);
    if (!FLOATS) {
      sum = add_rn(sum, values[i]);
    }
  }
  return sum;
}

template <int BITS, bool FLOATS, int VALUES>
METAL_FUNC float dot_of_packed(const device uint* words, thread const float* values) {
  float dot = 0.0f;
  for (int i = 0; i < VALUES; i += 32 / BITS) {
    const uint word = words[i * BITS / 32];
    for (int half_word = 0; BITS == 4 && half_word < 2; ++half_word) {
      const uint four = word >> (16 * half_word) & 0xffffu;
      if (FLOATS) {
        float q[4];
        for (int j = 0; j < 4; ++j) {
          q[j] = float_of_4(four >> (4 * j));
        }
        dot = add_rn(dot, dot_of_floats(values + i + 4 * half_word, q));
      } else {
        dot = add_rn(dot, dot_of_four<true>(values + i + 4 * half_word, four));
      }
    }
    for (int j = 0; BITS == 8 && j < 4; ++j) {
      const uint code = word >> (8 * j) & 0xffu;
      dot = dot_of_one(dot, values[i + j], FLOATS ? float_of_8(code) : float(code));
    }
  }
  return dot;
}

// Adds the own slice at element k to the rows first .. first + ROWS - 1 of N; a row past the end repeats the last.
// Of floats nobody reads the biases.
template <int BITS, int GROUP, bool FLOATS, int ROWS, int VALUES, int N, int K, typename S>
METAL_FUNC void add_packed(
    const device uint* w, const device S* scales, const device S* biases, uint first, uint k,
    thread const float* values, float sum, thread float* totals) {
  for (int row = 0; row < ROWS; ++row) {
    const uint at = first + row < N ? first + row : N - 1;
    const float dot = dot_of_packed<BITS, FLOATS, VALUES>(w + at * (K * BITS / 32) + k * BITS / 32, values);
    const uint group = at * (K / GROUP) + k / GROUP;
    const float scale = scale_of<GROUP, FLOATS>(scales[group]);
    totals[row] = add_rn(
        totals[row], FLOATS ? mul_rn(scale, dot) : affine<true>(scale, dot, float(biases[group]), sum));
  }
}

// A row's sum as stored, and the bias of its row added to it where it has one.
template <bool BIASED, typename T, typename B>
METAL_FUNC float with_bias(float sum, const device B* bias, size_t row) {
  return BIASED ? float(T(add_rn(float(T(sum)), float(bias[row])))) : sum;
}

// (clip(up) + 1) * (g * sigmoid(alpha * g)) of g = min(gate, limit), each step rounded as in `swiglu`. A NaN stays.
template <typename T, typename S>
METAL_FUNC T clamped_swiglu(float gate, float up, float alpha, float limit) {
  const float g = float(T(gate)) > limit ? limit : float(T(gate));
  const float below = float(T(up)) < -limit ? -limit : float(T(up));
  const float u = below > limit ? limit : below;
  const float scaled = float(T(mul_rn(alpha, g)));
  const float raised = float(S(exp_precise(scaled < 0.0f ? -scaled : scaled)));
  const float part = float(S(div_rn(1.0f, float(S(add_rn(1.0f, raised))))));
  const float sigmoid = float(T(scaled < 0.0f ? part : float(S(add_rn(1.0f, -part)))));
  return T(mul_rn(float(T(add_rn(u, 1.0f))), float(T(mul_rn(g, sigmoid)))));
}
