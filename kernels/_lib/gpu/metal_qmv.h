// Rows of 4-bit affine weights in groups of 64 times a vector, and SwiGLU, as MLX 0.32.4's Metal kernels round them.
//
// The order of MLX's matrix-vector product: a lane takes VALUES neighbouring elements of each block of 32 * VALUES
// (16 in its fast kernel, 8 in its generic one); x is added up in fours; x is divided by the place of its nibble, so
// that weights are only masked; a block adds scale * (x . q) + bias * (sum of x) to the row; simd_sum ends the row.
//
// CONTRACT: multiplications and additions within a statement contract as the compiler of MLX's own kernels contracts
// them (math mode `safe` says "on", and metal_words.h switches it off). Else every operation rounds on its own. The pragma
// stands at file scope, where others have measured that Metal's compiler follows it; in a block nobody has.

#pragma METAL fp contract(on)
template <bool CONTRACT>
METAL_FUNC float affine(float scale, float dot, float bias, float sum) {
  if (CONTRACT) {
    return scale * dot + sum * bias;
  }
  return add_rn(mul_rn(scale, dot), mul_rn(sum, bias));
}

template <bool CONTRACT>
METAL_FUNC float dot_of_four(thread const float* x, uint q) {
  const float first = float(q & 0x000fu);
  const float second = float(q & 0x00f0u);
  const float third = float(q & 0x0f00u);
  const float fourth = float(q & 0xf000u);
  if (CONTRACT) {
    return x[0] * first + x[1] * second + x[2] * third + x[3] * fourth;
  }
  return add_rn(add_rn(add_rn(mul_rn(x[0], first), mul_rn(x[1], second)), mul_rn(x[2], third)), mul_rn(x[3], fourth));
}
#pragma METAL fp contract(off)

// Fills `values` with x over the places of the nibbles; returns the sum of x.
template <int VALUES, typename T>
METAL_FUNC float load_slice(const device T* x, thread float* values) {
  float sum = 0.0f;
  for (int i = 0; i < VALUES; i += 4) {
    const float a = float(x[i]);
    const float b = float(x[i + 1]);
    const float c = float(x[i + 2]);
    const float d = float(x[i + 3]);
    sum = add_rn(sum, add_rn(add_rn(add_rn(a, b), c), d));
    values[i] = a;
    values[i + 1] = b / 16.0f;
    values[i + 2] = c / 256.0f;
    values[i + 3] = d / 4096.0f;
  }
  return sum;
}

// Adds the own slice at element k to the rows first .. first + ROWS - 1 of N; a row past the end repeats the last.
template <int ROWS, int VALUES, int N, int K, bool CONTRACT, typename T>
METAL_FUNC void add_slice(
    const device uint* w, const device T* scales, const device T* biases, uint first, uint k,
    thread const float* values, float sum, thread float* totals) {
  for (int row = 0; row < ROWS; ++row) {
    const uint at = first + row < N ? first + row : N - 1;
    float dot = 0.0f;
    for (int i = 0; i < VALUES; i += 8) {
      const uint word = w[at * (K / 8) + (k + i) / 8];
      dot = add_rn(dot, dot_of_four<CONTRACT>(values + i, word & 0xffffu));
      dot = add_rn(dot, dot_of_four<CONTRACT>(values + i + 4, word >> 16));
    }
    const uint group = at * (K / 64) + k / 64;
    totals[row] = add_rn(totals[row], affine<CONTRACT>(float(scales[group]), dot, float(biases[group]), sum));
  }
}

// ROWS rows of gate and the same rows of up, which share the loads of x; a lane's part, before the simd_sum.
template <int ROWS, int VALUES, int N, int K, bool CONTRACT, typename T>
METAL_FUNC void gate_and_up(
    const device T* x,
    const device uint* gate_w, const device T* gate_s, const device T* gate_b,
    const device uint* up_w, const device T* up_s, const device T* up_b,
    uint first, uint lane, thread float* gate, thread float* up) {
  for (int row = 0; row < ROWS; ++row) {
    gate[row] = 0.0f;
    up[row] = 0.0f;
  }
  float values[VALUES];
  for (uint k = lane * VALUES; k < K; k += 32 * VALUES) {
    const float sum = load_slice<VALUES>(x + k, values);
    add_slice<ROWS, VALUES, N, K, CONTRACT>(gate_w, gate_s, gate_b, first, k, values, sum, gate);
    add_slice<ROWS, VALUES, N, K, CONTRACT>(up_w, up_s, up_b, first, k, values, sum, up);
  }
}

// silu(gate) * up. STOCK: gate and up are rounded to T before it, as stored; the sigmoid's steps are rounded to S, as
// mx.compile's kernel does (T for bfloat, float for half, of which MLX has no precise exp), and the products to T.
// Else in float32, rounded once.
template <typename T, typename S, bool STOCK>
METAL_FUNC T swiglu(float gate, float up) {
  if (!STOCK) {
    return T(mul_rn(div_rn(gate, add_rn(1.0f, exp_precise(-gate))), up));
  }
  const float g = float(T(gate));
  const float raised = float(S(exp_precise(g < 0.0f ? -g : g)));
  const float denominator = float(S(add_rn(1.0f, raised)));
  const float below = float(S(div_rn(1.0f, denominator)));
  const float sigmoid = float(T(g < 0.0f ? below : float(S(add_rn(1.0f, -below)))));
  const float silu = float(T(mul_rn(g, sigmoid)));
  return T(mul_rn(silu, float(T(up))));
}
