#pragma once

#include <map>
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

  int launch(
      const mlx::core::array& in, const mlx::core::array& out, const std::shared_ptr<Buffers>& buffers,
      const std::vector<int>& numbers, CUstream stream) override;

  // Begins to capture a step with these buffers and numbers; another thread does it.
  void prepare(const std::shared_ptr<Buffers>& buffers, const std::vector<int>& numbers);

  // How many steps were launched as a captured graph, and how many one by one.
  std::pair<int, int> counts();

 private:
  // A step's values: the addresses of all arrays that stay, those of its buffers, and its numbers.
  using Values = std::vector<uint64_t>;

  struct Made {
    CUfunction function = nullptr; // null for a product
    CUlaunchConfig settings{};
    CUlaunchAttribute attribute{};
    std::vector<Parameter> parameters; // of a product a, b and out
    std::vector<int> slots; // where a parameter's value stands among the step's; INPUT, OUTPUT
    std::optional<Product> product;
  };

  void add(const Launch& launch);
  void add(const Product& product);
  void keep(const Parameter& parameter);
  int slot(const Parameter& parameter) const;
  Values values(const Buffers& buffers, const std::vector<int>& numbers) const;
  int number(const std::variant<int, Number>& size, const Values& values) const;
  void launch_one(const Made& made, const Values& values, uint64_t in, uint64_t out, CUstream stream) const;
  void launch_between(const Values& values, CUstream stream);
  void multiply(const Made& made, const Values& values, CUstream stream);

  CUmodule module_ = nullptr;
  std::vector<mlx::core::array> arrays_;
  std::map<std::uintptr_t, int> places_; // of arrays among them
  std::vector<Made> links_;
  mlx::core::array workspace_;
  CUstream side_ = nullptr; // of products aside
  CUevent fork_ = nullptr, join_ = nullptr;
  std::mutex products_mutex_;
  Products products_;
  int captured_ = 0;
  int one_by_one_ = 0;
  std::unique_ptr<Ahead> ahead_; // its thread uses the rest
};

} // namespace zmlx
