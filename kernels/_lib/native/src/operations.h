// The mlx operations. Weights are quantised as `mx.quantize` makes them: w uint32 (..., N, K * bits / 32), scales and, in
// mode affine, biases (..., N, K / group_size): there in a floating dtype, to which the result is promoted as mlx
// promotes it; else scales uint8 and no biases.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels.h"
#include "mlx/mlx.h"

namespace zmlx {

namespace mx = mlx::core;

// (w, scales, biases)
using Quantized = std::tuple<mx::array, mx::array, std::optional<mx::array>>;

// (group_size, bits, mode)
using Packed = std::tuple<int, int, std::string>;

// (alpha, limit) of mlx-lm's swiglu_oai.
using Clamped = std::pair<float, float>;

// A bias for each row of an expert, (E, N), for each weight of the operation; or none at all.
using Biases = std::vector<mx::array>;

struct Packing {
  Format format;
  int group;
  bool operator==(const Packing&) const = default;
};

// A wrong dtype; becomes Python's TypeError. A wrong shape or value is a std::invalid_argument, ValueError.
struct TypeMismatch : std::runtime_error {
  using std::runtime_error::runtime_error;
};

mx::array gather_qmm_swiglu(const mx::array& x, const Quantized& gate, const Quantized& up, const mx::array& indices,
                            int group_size, int bits, const std::string& mode, const std::optional<Packed>& up_packed,
                            const Biases& biases, const std::optional<Clamped>& clamped, mx::StreamOrDevice s);

mx::array gather_qmm_down_combine(const mx::array& h, const Quantized& down, const mx::array& indices,
                                  const mx::array& scores, int group_size, int bits, const std::string& mode,
                                  const Biases& biases, mx::StreamOrDevice s);

mx::array moe_gather_qmm_swiglu_downproj_combine(const mx::array& x, const Quantized& gate, const Quantized& up,
                                                 const Quantized& down, const mx::array& indices,
                                                 const mx::array& scores, int group_size, int bits,
                                                 const std::string& mode, const std::optional<Packed>& up_packed,
                                                 const std::optional<Packed>& down_packed, const Biases& biases,
                                                 const std::optional<Clamped>& clamped, mx::StreamOrDevice s);

mx::array quantized_matvec(const mx::array& x, const Quantized& weight, int group_size, int bits,
                           const std::string& mode, mx::StreamOrDevice s);

std::pair<mx::array, mx::array> moe_router(const mx::array& gates, int top_k, bool normalize,
                                           const std::optional<mx::array>& correction_bias, float scale,
                                           mx::StreamOrDevice s);

}  // namespace zmlx
