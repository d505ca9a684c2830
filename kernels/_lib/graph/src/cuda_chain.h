#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "cuda_ahead.h"
#include "cuda_calls.h"
#include "cuda_executables.h"
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

// Launches and cuBLASLt's products after each other. cuBLASLt's launches change with the sizes: a step is launched one
// by one, or as an executable graph that was made ready before, while the GPU was at work. Such a graph is captured once
// for every kind of launches that the products make; where there is one, only what changed is set anew.
// The first launch alone names the step's input, the last alone its output, and both stay out of the graph.
class Chain : public Work {
 public:
  Chain(
      const std::string& machine_code, const std::vector<Link>& links, std::vector<mlx::core::array> spares,
      mlx::core::array workspace);
  ~Chain() override;

  // Begins to make the graph of a step with these buffers and numbers; another thread does it.
  void prepare(const Buffers& buffers, const std::vector<int>& numbers);

  // How many steps were launched as a graph, and how many one by one.
  std::pair<int, int> counts();

  // Why a graph could not be made, the last time that it could not; empty without a failure.
  std::string fault();

 private:
  struct Made {
    CUfunction function = nullptr;
    CUlaunchConfig settings{};
    CUlaunchAttribute attribute{};
    CUDA_KERNEL_NODE_PARAMS node{}; // the same where it is set anew in a graph
    std::vector<size_t> places; // of a product a, b and out
    std::optional<Product> product;
  };

  void enqueue(const Values& values, CUstream stream) override;
  Made made(const Launch& launch) const;
  Made made(const Product& product) const;
  int size(const std::variant<int, Number>& given, const Values& values) const;
  // Addresses of a launch's values.
  static std::vector<void*> parameters(const Made& made, const Values& values);
  void launch_one(const Made& made, const Values& values, CUstream stream) const;
  // The stream of products aside, and what forks to it and joins it again. While a step is captured its own are part of
  // the capture, until that has ended: what is launched beside it must not touch them.
  struct Side {
    CUstream stream = nullptr;
    CUevent fork = nullptr, join = nullptr;
  };

  static void make(Side& side);
  static void destroy(const Side& side);
  // `nodes`, where it is given, gets each link's nodes of the graph that is being captured.
  void launch_between(
      const Values& values, CUstream stream, const Side& side, std::vector<std::vector<CUgraphNode>>* nodes = nullptr);
  Sizes sizes_of(const Made& made, const Values& values) const;
  Addresses addresses_of(const Made& made, const Values& values) const;
  // The executable graph of a step with these values, brought to the GPU by the stream.
  CUgraphExec ready(const Values& values, CUstream stream);
  void capture(Executable& into, const Values& values, CUstream stream);
  // Set anew what has other values than before: launches whose values differ, and all products.
  void set_launches(const Executable& executable, const Values& values) const;
  void set_products(const Executable& executable, const Values& values, CUstream stream);

  CUmodule module_ = nullptr;
  std::vector<Made> links_;
  Parameter workspace_;
  Side launched_side_, captured_side_;
  std::mutex products_mutex_; // of these and the executable graphs
  Products products_;
  Executables executables_;
  int captured_ = 0;
  int one_by_one_ = 0;
  std::unique_ptr<Ahead> ahead_; // its thread uses the rest
};

} // namespace zmlx
