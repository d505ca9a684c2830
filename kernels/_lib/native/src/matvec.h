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
template <Type T, Format F, int R>
inline void transpose_groups(const uint8_t* base, int64_t groups, int64_t first, int64_t last, float* out) {
  constexpr int size = scale_size<T, F>;
  constexpr int a_word = 4 / size;
  constexpr uint32_t mask = uint32_t((uint64_t(1) << (8 * size)) - 1);
  RowPointers<R> rows(base, groups * size, first, last);
  int64_t g = 0;
  for (; g + 4 * a_word <= groups; g += 4 * a_word) {
    for (int b = 0; b < R; b += W) {
      VU words[4];
      load4(rows.p + b, g * size, words);
      for (int i = 0; i < 4 * a_word; i++) {
        VU raw = (words[i / a_word] >> (8 * size * (i % a_word))) & mask;
        storeu(out + (g + i) * R + b, scale_of<T, F>(raw));
      }
    }
  }
  for (; g < groups; g++) {
    for (int b = 0; b < R; b += W) {
      VU raw{};
      for (int r = 0; r < W; r++) {
        uint32_t one = 0;
        __builtin_memcpy(&one, rows.p[b + r] + g * size, size);
        raw[r] = one;
      }
      storeu(out + g * R + b, scale_of<T, F>(raw));
    }
  }
}

// f.operator()<i>() for first <= i < last, each written out: the place of a code in its words is a constant.
template <int first, int last, class Step>
__attribute__((always_inline)) inline void unrolled(Step& f) {
  if constexpr (first < last) {
    f.template operator()<first>();
    unrolled<first + 1, last>(f);
  }
}

// B * W rows for M vectors.
template <Type T, Format F, int B, int M>
void rows_pass(const Matrix& m, const float* const* x, int64_t first, int64_t last, float* const* out, int64_t shift,
               float* scratch) {
  constexpr int R = B * W;
  constexpr int bits = bits_of(F);
  constexpr int step = bits == 8 ? 16 : 32;  // codes looked at together
  constexpr int word_count = step * bits / 32;
  constexpr int half = step / 2;
  const int64_t groups = m.k / m.group;
  const int64_t stride = m.k * bits / 8;
  float* scales = scratch;
  float* biases = scratch + groups * R;
  transpose_groups<T, F, R>(m.scales, groups, first, last, scales);
  if constexpr (is_affine(F)) {
    transpose_groups<T, F, R>(m.biases, groups, first, last, biases);
  }
  RowPointers<R> rows(m.w, stride, first, last);
  const uint8_t* ahead = m.w + (first + R) * stride;  // the next pass's rows, or past the end: only asked for

  VF acc[B][M] = {};
  VF scale[B], bias[B], part[B][M];
  VU words[B][word_count];
  int64_t offset = 0;
  int64_t k = 0;
  auto open = [&](int64_t g) __attribute__((always_inline)) {
    for (int b = 0; b < B; b++) {
      scale[b] = loadu<VF>(scales + g * R + b * W);
      if constexpr (is_affine(F)) {
        bias[b] = loadu<VF>(biases + g * R + b * W);
      }
      for (int t = 0; t < M; t++) {
        part[b][t] = VF{};
      }
    }
  };
  auto one = [&]<int e>() __attribute__((always_inline)) {
#if ZMLX_ISA == 512
    if constexpr (M == 1 && !is_affine(F) && bits == 4) {
      // There are sixteen products with one x: they are made and rounded once for all rows, and looked up.
      VF products = round_to<T>(x[0][k + e] * floats_of_4());
      for (int b = 0; b < B; b++) {
        part[b][0] = round_to<T>(part[b][0] + look_up(products, code_at<bits, e>(words[b])));
      }
      return;
    }
#endif
#pragma GCC unroll 4
    for (int b = 0; b < B; b++) {
      VF q = value_of<F>(code_at<bits, e>(words[b]));
      if constexpr (is_affine(F)) {
        VF w = round_to<T>(round_to<T>(scale[b] * q) + bias[b]);
#pragma GCC unroll 4
        for (int t = 0; t < M; t++) {
          acc[b][t] = round_to<T>(acc[b][t] + round_to<T>(x[t][k + e] * w));
        }
      } else {
#pragma GCC unroll 4
        for (int t = 0; t < M; t++) {
          part[b][t] = round_to<T>(part[b][t] + round_to<T>(x[t][k + e] * q));
        }
      }
    }
  };
  auto close = [&]() __attribute__((always_inline)) {
    if constexpr (!is_affine(F)) {
      for (int b = 0; b < B; b++) {
        for (int t = 0; t < M; t++) {
          acc[b][t] = round_to<T>(acc[b][t] + round_to<T>(scale[b] * part[b][t]));
        }
      }
    }
  };
  auto load = [&]<int n>() __attribute__((always_inline)) {
    for (int i = 0; i < 4 * n * R; i += 64) {
      __builtin_prefetch(ahead + offset * R + i);
    }
    for (int b = 0; b < B; b++) {
      load_words<n>(rows.p + b * W, offset, words[b]);
    }
  };
  if constexpr (F == Format::nvfp4) {
    // Two groups at once: words are cheapest four by four.
    for (int64_t g = 0; g < groups; g += 2, offset += 4 * word_count, k += step) {
      const bool both = g + 1 < groups;
      if (both) {
        load.template operator()<word_count>();
      } else {
        load.template operator()<word_count / 2>();
      }
      open(g);
      unrolled<0, half>(one);
      close();
      if (both) {
        open(g + 1);
        unrolled<half, step>(one);
        close();
      }
    }
  } else {
    const int steps = m.group / step;
    for (int64_t g = 0; g < groups; g++) {
      open(g);
      for (int s = 0; s < steps; s++, offset += 4 * word_count, k += step) {
        load.template operator()<word_count>();
        unrolled<0, step>(one);
      }
      close();
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

template <Type T, Format F, int B, int M>
int64_t passes(const Matrix& m, const float* const* x, int64_t first, int64_t last, float* const* out, int64_t shift,
               float* scratch) {
  while (last - first > (B - 1) * W) {
    rows_pass<T, F, B, M>(m, x, first, last - first < B * W ? last : first + B * W, out, shift, scratch);
    first = last - first < B * W ? last : first + B * W;
  }
  return first;
}

template <Type T, Format F>
void matvec(const Matrix& m, const float* const* x, int tokens, int64_t first, int64_t last, float* const* out,
            float* scratch) {
  int64_t at = first;
  if (tokens == 1) {
    at = passes<T, F, 2, 1>(m, x, at, last, out, first, scratch);
    passes<T, F, 1, 1>(m, x, at, last, out, first, scratch);
  } else if (tokens == 2) {
    passes<T, F, 1, 2>(m, x, at, last, out, first, scratch);
  } else if (tokens == 3) {
    // Two and one: a pass for three would be a fifth more code for what long prompts have at an expert's end.
    matvec<T, F>(m, x, 2, first, last, out, scratch);
    matvec<T, F>(m, x + 2, 1, first, last, out + 2, scratch);
  } else {
    passes<T, F, 1, 4>(m, x, at, last, out, first, scratch);
  }
}
