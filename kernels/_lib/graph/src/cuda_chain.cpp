#include "cuda_chain.h"

#include <stdexcept>

#include "mlx/backend/cuda/device.h"

namespace mx = mlx::core;

namespace zmlx {

namespace {

constexpr int INPUT = -1;
constexpr int OUTPUT = -2;

template <typename What>
bool names(const std::vector<Parameter>& parameters) {
  for (const auto& each : parameters) {
    if (std::holds_alternative<What>(each)) {
      return true;
    }
  }
  return false;
}

uint64_t address(const mx::array& array) {
  return reinterpret_cast<uint64_t>(mx::gpu_ptr<void>(array));
}

} // namespace

Chain::Chain(
    const std::string& machine_code, const std::vector<Link>& links, std::vector<mx::array> spares, mx::array workspace)
    : Work(std::move(spares)), workspace_(std::move(workspace)) {
  if (workspace_.nbytes() < 2 * Products::WORKSPACE) {
    throw std::invalid_argument("the workspace is too small");
  }
  mx::cu::device(mx::Device::gpu).make_current();
  check(cuModuleLoadData(&module_, machine_code.data()), "loading the chain's machine code");
  check(cuStreamCreate(&side_, CU_STREAM_NON_BLOCKING), "making a stream");
  check(cuEventCreate(&fork_, CU_EVENT_DISABLE_TIMING), "making an event");
  check(cuEventCreate(&join_, CU_EVENT_DISABLE_TIMING), "making an event");
  for (const auto& link : links) {
    std::visit([this](const auto& one) { add(one); }, link);
  }
  if (links_.size() < 2 || links_.front().function == nullptr || links_.back().function == nullptr) {
    throw std::invalid_argument("a chain begins and ends with a launch");
  }
  for (size_t i = 0; i < links_.size(); ++i) {
    Made& made = links_[i];
    if (names<Input>(made.parameters) != (i == 0) || names<Output>(made.parameters) != (i + 1 == links_.size())) {
      throw std::invalid_argument("the first launch of a chain takes the input and the last makes the output");
    }
    // All arrays are known now, and what is named.
    for (const auto& each : made.parameters) {
      made.slots.push_back(slot(each));
    }
  }
}

Chain::~Chain() {
  const bool entered = enter();
  ahead_.reset();
  if (!entered) {
    return;
  }
  for (auto event : {fork_, join_}) {
    if (event != nullptr) {
      cuEventDestroy(event);
    }
  }
  if (side_ != nullptr) {
    cuStreamDestroy(side_);
  }
  if (module_ != nullptr) {
    cuModuleUnload(module_);
  }
}

void Chain::add(const Launch& launch) {
  Made& made = links_.emplace_back();
  made.parameters = launch.parameters;
  for (const auto& each : made.parameters) {
    keep(each);
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
    keep(each);
  }
  for (const auto& size : {product.cols, product.depth}) {
    if (const auto* number = std::get_if<Number>(&size)) {
      note(*number);
    }
  }
}

void Chain::keep(const Parameter& parameter) {
  note(parameter);
  const auto* array = std::get_if<mx::array>(&parameter);
  if (array != nullptr && places_.emplace(array->id(), static_cast<int>(arrays_.size())).second) {
    arrays_.push_back(*array);
  }
}

int Chain::slot(const Parameter& parameter) const {
  if (const auto* array = std::get_if<mx::array>(&parameter)) {
    return places_.at(array->id());
  }
  const int buffers_begin = static_cast<int>(arrays_.size());
  if (const auto* buffer = std::get_if<Buffer>(&parameter)) {
    return buffers_begin + buffer->index;
  }
  if (const auto* number = std::get_if<Number>(&parameter)) {
    return buffers_begin + buffers() + number->index;
  }
  return std::holds_alternative<Input>(parameter) ? INPUT : OUTPUT;
}

Chain::Values Chain::values(const Buffers& buffers, const std::vector<int>& numbers) const {
  if (static_cast<int>(buffers.arrays.size()) < this->buffers() ||
      static_cast<int>(numbers.size()) < this->numbers()) {
    throw std::invalid_argument("the chain needs more buffers or numbers");
  }
  Values found;
  found.reserve(arrays_.size() + this->buffers() + this->numbers());
  for (const auto& each : arrays_) {
    found.push_back(address(each));
  }
  for (int i = 0; i < this->buffers(); ++i) {
    found.push_back(address(buffers.arrays[i]));
  }
  for (int i = 0; i < this->numbers(); ++i) {
    found.push_back(static_cast<uint32_t>(numbers[i]));
  }
  return found;
}

int Chain::number(const std::variant<int, Number>& size, const Values& values) const {
  const auto* number = std::get_if<Number>(&size);
  return number != nullptr ? static_cast<int>(values[arrays_.size() + buffers() + number->index]) : std::get<int>(size);
}

void Chain::launch_one(const Made& made, const Values& values, uint64_t in, uint64_t out, CUstream stream) const {
  std::vector<uint64_t> own;
  std::vector<void*> places;
  own.reserve(made.slots.size());
  for (const int slot : made.slots) {
    own.push_back(slot == INPUT ? in : slot == OUTPUT ? out : values[slot]);
    places.push_back(&own.back());
  }
  CUlaunchConfig settings = made.settings;
  CUlaunchAttribute attribute = made.attribute;
  settings.attrs = &attribute;
  settings.hStream = stream;
  check(cuLaunchKernelEx(&settings, made.function, places.data(), nullptr), "a launch of a chain");
}

void Chain::multiply(const Made& made, const Values& values, CUstream stream) {
  const Product& of = *made.product;
  const Sizes sizes{of.rows, number(of.cols, values), number(of.depth, values), of.transposed};
  const auto at = [&](int which) { return values[made.slots[which]]; };
  const uint64_t workspace = address(workspace_) + (of.aside ? Products::WORKSPACE : 0);
  products_.multiply(sizes, at(0), at(1), at(2), workspace, stream);
}

void Chain::launch_between(const Values& values, CUstream stream) {
  const std::lock_guard<std::mutex> lock(products_mutex_);
  bool forked = false;
  for (size_t i = 1; i + 1 < links_.size(); ++i) {
    const Made& made = links_[i];
    if (made.function != nullptr) {
      launch_one(made, values, 0, 0, stream);
    } else if (made.product->aside) {
      check(cuEventRecord(fork_, stream), "recording an event");
      check(cuStreamWaitEvent(side_, fork_, CU_EVENT_WAIT_DEFAULT), "waiting for an event");
      multiply(made, values, side_);
      check(cuEventRecord(join_, side_), "recording an event");
      forked = true;
    } else {
      multiply(made, values, stream);
      if (forked) {
        check(cuStreamWaitEvent(stream, join_, CU_EVENT_WAIT_DEFAULT), "waiting for an event");
        forked = false;
      }
    }
  }
}

int Chain::launch(
    const mx::array& in, const mx::array& out, const std::shared_ptr<Buffers>& buffers, const std::vector<int>& numbers,
    CUstream stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Values now = values(*buffers, numbers);
  const CUgraphExec captured = ahead_ != nullptr ? ahead_->take(now) : nullptr;
  turn_.take(stream);
  buffers->turn.take(stream);
  launch_one(links_.front(), now, address(in), 0, stream);
  if (captured != nullptr) {
    check(cuGraphLaunch(captured, stream), "launching a captured step");
    ++captured_;
  } else {
    launch_between(now, stream);
    ++one_by_one_;
  }
  launch_one(links_.back(), now, 0, address(out), stream);
  turn_.mark(stream);
  buffers->turn.mark(stream);
  return captured != nullptr ? 0 : static_cast<int>(links_.size());
}

void Chain::prepare(const std::shared_ptr<Buffers>& buffers, const std::vector<int>& numbers) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (ahead_ == nullptr) {
    ahead_ = std::make_unique<Ahead>();
  }
  // Addresses are read here, by the thread that the arrays belong to.
  ahead_->begin(values(*buffers, numbers), [this](const Values& values, CUstream stream) {
    launch_between(values, stream);
  });
}

std::pair<int, int> Chain::counts() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {captured_, one_by_one_};
}

} // namespace zmlx
