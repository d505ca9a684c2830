// Quantised matrix times vector: W rows in W lanes, serial over k, so that each row sees mlx's roundings in mlx's
// order.

template <Type T>
inline VF round_to(VF x) {
  if constexpr (T == Type::bf16) {
    return round_bf16(x);
  } else if constexpr (T == Type::f16) {
    return round_f16(x);
  } else {
    return x;
  }
}

template <Type T>
constexpr int type_size = T == Type::f32 ? 4 : 2;

// The rows of one pass; rows past the last repeat it, so that no load leaves the matrix.
template <int R>
struct RowPointers {
  const uint8_t* p[R];
  RowPointers(const uint8_t* base, int64_t stride, int64_t first, int64_t last) {
    for (int r = 0; r < R; r++) {
      int64_t row = first + r < last ? first + r : last - 1;
      p[r] = base + row * stride;
    }
  }
};

// Scales or biases of R rows as float32, transposed: out[g * R + r].
template <Type T, int R>
inline void transpose_groups(const uint8_t* base, int64_t groups, int64_t first, int64_t last, float* out) {
  constexpr int size = type_size<T>;
  constexpr int step = 16 / size;
  RowPointers<R> rows(base, groups * size, first, last);
  int64_t g = 0;
  for (; g + step <= groups; g += step) {
    for (int b = 0; b < R; b += W) {
      VU words[4];
      load4(rows.p + b, g * size, words);
      for (int j = 0; j < 4; j++) {
        if constexpr (T == Type::f32) {
          storeu(out + (g + j) * R + b, words[j]);
        } else {
          VH low = __builtin_convertvector(words[j] & 0xffffu, VH), high = __builtin_convertvector(words[j] >> 16, VH);
          float* at = out + (g + 2 * j) * R + b;
          storeu(at, T == Type::bf16 ? widen_bf16(low) : widen_f16(low));
          storeu(at + R, T == Type::bf16 ? widen_bf16(high) : widen_f16(high));
        }
      }
    }
  }
  for (; g < groups; g++) {
    for (int b = 0; b < R; b += W) {
      if constexpr (T == Type::f32) {
        VF v;
        for (int r = 0; r < W; r++) {
          float f;
          __builtin_memcpy(&f, rows.p[b + r] + g * size, size);
          v[r] = f;
        }
        storeu(out + g * R + b, v);
      } else {
        VH h;
        for (int r = 0; r < W; r++) {
          uint16_t u;
          __builtin_memcpy(&u, rows.p[b + r] + g * size, size);
          h[r] = u;
        }
        storeu(out + g * R + b, T == Type::bf16 ? widen_bf16(h) : widen_f16(h));
      }
    }
  }
}

// B * W rows for M vectors.
template <Type T, int bits, int B, int M>
void rows_pass(const Matrix& m, const float* const* x, int64_t first, int64_t last, float* const* out, int64_t shift,
               float* scratch) {
  constexpr int R = B * W;
  constexpr int per_word = 32 / bits;
  const int64_t groups = m.k / m.group;
  const int chunks = m.group / (4 * per_word);
  float* scales = scratch;
  float* biases = scratch + groups * R;
  transpose_groups<T, R>(m.scales, groups, first, last, scales);
  transpose_groups<T, R>(m.biases, groups, first, last, biases);
  RowPointers<R> rows(m.w, m.k * bits / 8, first, last);

  VF acc[B][M] = {};
  int64_t offset = 0;
  int64_t k = 0;
  for (int64_t g = 0; g < groups; g++) {
    VF scale[B], bias[B];
    for (int b = 0; b < B; b++) {
      scale[b] = loadu<VF>(scales + g * R + b * W);
      bias[b] = loadu<VF>(biases + g * R + b * W);
    }
    for (int c = 0; c < chunks; c++, offset += 16) {
      VU words[B][4];
      for (int b = 0; b < B; b++) {
        load4(rows.p + b * W, offset, words[b]);
      }
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) {
#pragma GCC unroll 8
        for (int e = 0; e < per_word; e++, k++) {
#pragma GCC unroll 4
          for (int b = 0; b < B; b++) {
            VF q = low_integer<bits>(words[b][j] >> (bits * e));
            VF w = round_to<T>(round_to<T>(scale[b] * q) + bias[b]);
#pragma GCC unroll 4
            for (int t = 0; t < M; t++) {
              acc[b][t] = round_to<T>(acc[b][t] + round_to<T>(x[t][k] * w));
            }
          }
        }
      }
    }
  }
  for (int t = 0; t < M; t++) {
    float* to = out[t] + (first - shift);
    for (int b = 0; b < B; b++) {
      int64_t left = last - first - b * W;
      if (left >= W) {
        storeu(to + b * W, acc[b][t]);
      } else {
        for (int r = 0; r < left; r++) {
          to[b * W + r] = acc[b][t][r];
        }
      }
    }
  }
}

template <Type T, int bits, int B, int M>
int64_t passes(const Matrix& m, const float* const* x, int64_t first, int64_t last, float* const* out, int64_t shift,
               float* scratch) {
  while (last - first > (B - 1) * W) {
    rows_pass<T, bits, B, M>(m, x, first, last - first < B * W ? last : first + B * W, out, shift, scratch);
    first = last - first < B * W ? last : first + B * W;
  }
  return first;
}

template <Type T, int bits>
void matvec(const Matrix& m, const float* const* x, int tokens, int64_t first, int64_t last, float* const* out,
            float* scratch) {
  int64_t at = first;
  if (tokens == 1) {
    at = passes<T, bits, 2, 1>(m, x, at, last, out, first, scratch);
    passes<T, bits, 1, 1>(m, x, at, last, out, first, scratch);
  } else if (tokens == 2) {
    passes<T, bits, 1, 2>(m, x, at, last, out, first, scratch);
  } else if (tokens == 3) {
    passes<T, bits, 1, 3>(m, x, at, last, out, first, scratch);
  } else {
    passes<T, bits, 1, 4>(m, x, at, last, out, first, scratch);
  }
}
