#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "cuda_ahead.h"
#include "cuda_graph.h"
#include "cuda_products.h"

namespace zmlx {

// A product whose columns or depth may be one of the step's numbers; see Sizes.
struct Product {
  Parameter a, b, out;
  int rows;
  std::variant<int, Number> cols, depth;
  bool transposed;
  // Whether it may run beside what follows it, up to the next product and with that; then both are waited for.
  bool aside;
};
using Link = std::variant<Launch, Product>;

// Launches and cuBLASLt's products after each other. cuBLASLt's launches change with the sizes, so no executable graph
// of them stays: a step is launched one by one, or as a graph that was captured before, while the GPU was at work.
// The first launch alone names the step's input, the last alone its output, and both stay out of the captured graph.
class Chain : public Work {
 public:
  Chain(
      const std::string& machine_code, const std::vector<Link>& links, std::vector<mlx::core::array> spares,
      mlx::core::array workspace);
  ~Chain() override;

  // Begins to capture a step with these buffers and numbers; another thread does it.
  void prepare(const Buffers& buffers, const std::vector<int>& numbers);

  // How many steps were launched as a captured graph, and how many one by one.
  std::pair<int, int> counts();

 private:
  struct Made {
    CUfunction function = nullptr; // null for a product
    CUlaunchConfig settings{};
    CUlaunchAttribute attribute{};
    std::vector<size_t> places; // of a product a, b and out
    std::optional<Product> product;
  };

  void enqueue(const Values& values, CUstream stream) override;
  Made made(const Launch& launch) const;
  Made made(const Product& product) const;
  int size(const std::variant<int, Number>& given, const Values& values) const;
  void launch_one(const Made& made, const Values& values, CUstream stream) const;
  // The stream of products aside, and what forks to it and joins it again. While a step is captured its own are part of
  // the capture, until that has ended: what is launched beside it must not touch them.
  struct Side {
    CUstream stream = nullptr;
    CUevent fork = nullptr, join = nullptr;
  };

  static void make(Side& side);
  static void destroy(const Side& side);
  // `kind`, where it is given, becomes what kind of graph the launches make: the products', since all else stays.
  void launch_between(const Values& values, CUstream stream, const Side& side, Kind* kind = nullptr);
  void multiply(const Made& made, const Values& values, CUstream stream, Kind* kind);

  CUmodule module_ = nullptr;
  std::vector<Made> links_;
  Parameter workspace_;
  Side launched_side_, captured_side_;
  std::mutex products_mutex_;
  Products products_;
  int captured_ = 0;
  int one_by_one_ = 0;
  std::unique_ptr<Ahead> ahead_; // its thread uses the rest
};

} // namespace zmlx
