#include "cuda_products.h"

#include <stdexcept>
#include <string>

#include "cuda_graph.h"

namespace zmlx {

namespace {

constexpr size_t MOST_PLANS = 64; // lengths come and go

using zmlx::check;

void check(cublasStatus_t result, const char* what) {
  if (result != CUBLAS_STATUS_SUCCESS) {
    throw std::runtime_error(std::string(what) + ": cuBLASLt's status " + std::to_string(static_cast<int>(result)));
  }
}

} // namespace

Products::Products() {
  check(cublasLtCreate(&handle_), "cuBLASLt");
  check(cublasLtMatmulPreferenceCreate(&preference_), "cuBLASLt's preference");
  check(
      cublasLtMatmulPreferenceSetAttribute(
          preference_, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE, sizeof(WORKSPACE)),
      "cuBLASLt's preference");
}

Products::~Products() {
  if (stream_ != nullptr) {
    cuStreamDestroy(stream_);
  }
  plans_.clear();
  if (preference_ != nullptr) {
    cublasLtMatmulPreferenceDestroy(preference_);
  }
  if (handle_ != nullptr) {
    cublasLtDestroy(handle_);
  }
}

Products::Plan::~Plan() {
  for (auto* layout : {first, second, out}) {
    if (layout != nullptr) {
      cublasLtMatrixLayoutDestroy(layout);
    }
  }
  if (product != nullptr) {
    cublasLtMatmulDescDestroy(product);
  }
}

Products::Plan& Products::plan(const Sizes& sizes) {
  if (const auto found = plans_.find(sizes); found != plans_.end()) {
    return found->second;
  }
  if (plans_.size() >= MOST_PLANS) {
    plans_.clear();
  }
  Plan& plan = plans_[sizes];
  try {
    const uint64_t rows = sizes.rows, cols = sizes.cols, depth = sizes.depth;
    check(cublasLtMatmulDescCreate(&plan.product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product");
    // cuBLAS counts by columns: MLX swaps the factors and so gets the product by rows.
    const cublasOperation_t of_b = sizes.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t of_a = CUBLAS_OP_N;
    const cublasLtPointerMode_t on_host = CUBLASLT_POINTER_MODE_HOST;
    const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const void* value, size_t size) {
      check(cublasLtMatmulDescSetAttribute(plan.product, attribute, value, size), "a product");
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, &of_b, sizeof(of_b));
    set(CUBLASLT_MATMUL_DESC_TRANSB, &of_a, sizeof(of_a));
    set(CUBLASLT_MATMUL_DESC_POINTER_MODE, &on_host, sizeof(on_host));
    const auto layout = [](cublasLtMatrixLayout_t* made, uint64_t height, uint64_t width) {
      check(cublasLtMatrixLayoutCreate(made, CUDA_R_16BF, height, width, height), "a matrix");
    };
    layout(&plan.first, sizes.transposed ? depth : cols, sizes.transposed ? cols : depth);
    layout(&plan.second, depth, rows);
    layout(&plan.out, cols, rows);
    int count = 0;
    check(
        cublasLtMatmulAlgoGetHeuristic(
            handle_, plan.product, plan.first, plan.second, plan.out, plan.out, preference_, 1, &plan.chosen, &count),
        "choosing an algorithm");
    if (count == 0) {
      throw std::runtime_error("cuBLASLt has no algorithm for a product");
    }
  } catch (...) {
    plans_.erase(sizes);
    throw;
  }
  return plan;
}

void Products::multiply(const Sizes& sizes, const Addresses& at, CUstream stream) {
  const Plan& made = plan(sizes);
  const float one = 1.0f, nothing = 0.0f;
  const auto here = [](uint64_t address) { return reinterpret_cast<void*>(address); };
  check(
      cublasLtMatmul(
          handle_, made.product, &one, here(at.b), made.first, here(at.a), made.second, &nothing, here(at.out),
          made.out, here(at.out), made.out, &made.chosen.algo,
          made.chosen.workspaceSize > 0 ? here(at.workspace) : nullptr, made.chosen.workspaceSize, stream),
      "a product");
}

const Kind& Products::kind(const Sizes& sizes, const Addresses& at) {
  Kind& kind = plan(sizes).kind;
  if (!kind.empty()) {
    return kind;
  }
  if (stream_ == nullptr) {
    check(cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), "making a stream");
  }
  CUgraphNode last = nullptr;
  const OwnGraph graph = captured(stream_, [&]() {
    multiply(sizes, at, stream_);
    last = last_captured(stream_);
  });
  size_t count = 0;
  check(cuGraphGetNodes(graph.get(), nullptr, &count), "a graph's nodes");
  kind = kind_of(run_of(last, count));
  return kind;
}

} // namespace zmlx
