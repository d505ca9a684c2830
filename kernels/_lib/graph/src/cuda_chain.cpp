#include "cuda_chain.h"

#include <stdexcept>

#include "mlx/backend/cuda/device.h"

namespace mx = mlx::core;

namespace zmlx {

namespace {

int number_of(const std::variant<int, Number>& size, const std::vector<int>& numbers) {
  const auto* number = std::get_if<Number>(&size);
  return number != nullptr ? numbers[number->index] : std::get<int>(size);
}

bool names(const std::vector<Parameter>& parameters, bool output) {
  for (const auto& each : parameters) {
    if (output ? std::holds_alternative<Output>(each) : std::holds_alternative<Input>(each)) {
      return true;
    }
  }
  return false;
}

} // namespace

Chain::Chain(
    const std::string& machine_code, const std::vector<Link>& links, std::vector<mx::array> spares, mx::array workspace)
    : Work(std::move(spares)), workspace_(std::move(workspace)) {
  if (workspace_.nbytes() < Products::WORKSPACE) {
    throw std::invalid_argument("the workspace is too small");
  }
  mx::cu::device(mx::Device::gpu).make_current();
  check(cuModuleLoadData(&module_, machine_code.data()), "loading the chain's machine code");
  for (const auto& link : links) {
    std::visit([this](const auto& one) { add(one); }, link);
  }
  if (links_.size() < 2 || links_.front().function == nullptr || links_.back().function == nullptr) {
    throw std::invalid_argument("a chain begins and ends with a launch");
  }
  for (size_t i = 0; i < links_.size(); ++i) {
    if (names(links_[i].parameters, false) != (i == 0) || names(links_[i].parameters, true) != (i + 1 == links_.size())) {
      throw std::invalid_argument("the first launch of a chain takes the input and the last makes the output");
    }
  }
}

Chain::~Chain() {
  ahead_.reset();
  if (module_ != nullptr) {
    cuModuleUnload(module_);
  }
}

void Chain::add(const Launch& launch) {
  Made& made = links_.emplace_back();
  made.parameters = launch.parameters;
  for (const auto& each : made.parameters) {
    note(each);
  }
  made.function = kernel_of(module_, launch.kernel, launch.shared_bytes);
  made.settings.gridDimX = launch.blocks[0];
  made.settings.gridDimY = launch.blocks[1];
  made.settings.gridDimZ = launch.blocks[2];
  made.settings.blockDimX = launch.threads;
  made.settings.blockDimY = 1;
  made.settings.blockDimZ = 1;
  made.settings.sharedMemBytes = launch.shared_bytes;
  made.attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
  made.attribute.value.programmaticStreamSerializationAllowed = 1;
  made.settings.numAttrs = launch.ahead ? 1 : 0;
}

void Chain::add(const Product& product) {
  Made& made = links_.emplace_back();
  made.parameters = {product.a, product.b, product.out};
  made.product = product;
  for (const auto& each : made.parameters) {
    note(each);
  }
  for (const auto& size : {product.cols, product.depth}) {
    if (const auto* number = std::get_if<Number>(&size)) {
      note(*number);
    }
  }
}

Sizes Chain::sizes(const Made& made, const std::vector<int>& numbers) const {
  const Product& of = *made.product;
  return {of.rows, number_of(of.cols, numbers), number_of(of.depth, numbers), of.transposed};
}

std::vector<uint64_t> Chain::values(const Buffers& buffers, const std::vector<int>& numbers) const {
  std::vector<uint64_t> found;
  for (size_t i = 1; i + 1 < links_.size(); ++i) {
    for (const auto& parameter : links_[i].parameters) {
      found.push_back(value(parameter, nullptr, nullptr, &buffers, numbers));
    }
    if (links_[i].function == nullptr) {
      const Sizes of = sizes(links_[i], numbers);
      found.push_back(static_cast<uint64_t>(of.cols) << 32 | static_cast<uint32_t>(of.depth));
    }
  }
  return found;
}

void Chain::launch_one(const Made& made, std::vector<uint64_t>& values, CUstream stream) {
  std::vector<void*> places;
  for (auto& each : values) {
    places.push_back(&each);
  }
  CUlaunchConfig settings = made.settings;
  CUlaunchAttribute attribute = made.attribute;
  settings.attrs = &attribute;
  settings.hStream = stream;
  check(cuLaunchKernelEx(&settings, made.function, places.data(), nullptr), "a launch of a chain");
}

void Chain::launch_between(const std::vector<uint64_t>& values, const std::vector<int>& numbers, CUstream stream) {
  const std::lock_guard<std::mutex> lock(products_mutex_);
  const uint64_t workspace = reinterpret_cast<uint64_t>(mx::gpu_ptr<void>(workspace_));
  size_t at = 0;
  for (size_t i = 1; i + 1 < links_.size(); ++i) {
    const Made& made = links_[i];
    const size_t count = made.parameters.size();
    if (made.function != nullptr) {
      std::vector<uint64_t> own(values.begin() + at, values.begin() + at + count);
      launch_one(made, own, stream);
      at += count;
    } else {
      products_.multiply(sizes(made, numbers), values[at], values[at + 1], values[at + 2], workspace, stream);
      at += count + 1;
    }
  }
}

void Chain::launch_end(
    const Made& made, const mx::array& in, const mx::array& out, const Buffers& buffers,
    const std::vector<int>& numbers, CUstream stream) {
  std::vector<uint64_t> own;
  for (const auto& parameter : made.parameters) {
    own.push_back(value(parameter, &in, &out, &buffers, numbers));
  }
  launch_one(made, own, stream);
}

int Chain::launch(
    const mx::array& in, const mx::array& out, const std::shared_ptr<Buffers>& buffers, const std::vector<int>& numbers,
    CUstream stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const std::vector<uint64_t> between = values(*buffers, numbers);
  const CUgraphExec captured = ahead_ != nullptr ? ahead_->take(between) : nullptr;
  turn_.take(stream);
  buffers->turn.take(stream);
  launch_end(links_.front(), in, out, *buffers, numbers, stream);
  if (captured != nullptr) {
    check(cuGraphLaunch(captured, stream), "launching a captured step");
    ++captured_;
  } else {
    launch_between(between, numbers, stream);
    ++one_by_one_;
  }
  launch_end(links_.back(), in, out, *buffers, numbers, stream);
  turn_.mark(stream);
  buffers->turn.mark(stream);
  return captured != nullptr ? 0 : static_cast<int>(links_.size());
}

void Chain::prepare(std::shared_ptr<Buffers> buffers, std::vector<int> numbers) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (static_cast<int>(buffers->arrays.size()) < this->buffers() || static_cast<int>(numbers.size()) < this->numbers()) {
    throw std::invalid_argument("the chain needs more buffers or numbers");
  }
  if (ahead_ == nullptr) {
    ahead_ = std::make_unique<Ahead>();
  }
  // Addresses are read here, in the thread that owns the arrays.
  ahead_->begin(values(*buffers, numbers), [this, numbers](const std::vector<uint64_t>& values, CUstream stream) {
    launch_between(values, numbers, stream);
  });
}

std::pair<int, int> Chain::counts() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {captured_, one_by_one_};
}

} // namespace zmlx
