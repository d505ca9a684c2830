#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <vector>

#include <cublasLt.h>
#include <cuda.h>

#include "cuda_calls.h"

namespace zmlx {

// out (rows, cols) = a (rows, depth) times b, which is (depth, cols) or, transposed, (cols, depth); all bfloat16.
struct Sizes {
  int rows, cols, depth;
  bool transposed;
  auto operator<=>(const Sizes&) const = default;
};

// Where a product finds its factors and puts its result; `workspace` has WORKSPACE bytes.
struct Addresses {
  uint64_t a, b, out, workspace;
};

// Products as MLX 0.32.4 has cuBLASLt make them: the same descriptions and preference, so the same algorithm and bits.
class Products {
 public:
  // What MLX lets an algorithm have on compute capability 9.0 and above.
  static constexpr uint64_t WORKSPACE = 32 << 20;

  Products();
  ~Products();
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

  // Launches a product on the stream.
  void multiply(const Sizes& sizes, const Addresses& at, CUstream stream);

  // What kind of launches a product makes, which follows its sizes; found once, by capturing it.
  const Kind& kind(const Sizes& sizes, const Addresses& at);

 private:
  struct Plan {
    ~Plan();
    cublasLtMatmulDesc_t product = nullptr;
    cublasLtMatrixLayout_t first = nullptr, second = nullptr, out = nullptr;
    cublasLtMatmulHeuristicResult_t chosen{};
    Kind kind;
  };

  Plan& plan(const Sizes& sizes);

  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatmulPreference_t preference_ = nullptr;
  std::map<Sizes, Plan> plans_;
  CUstream stream_ = nullptr; // for captures of one product
};

} // namespace zmlx
