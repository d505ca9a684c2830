#include "cuda_chain.h"

#include <algorithm>
#include <stdexcept>

#include "mlx/backend/cuda/device.h"

namespace mx = mlx::core;

namespace zmlx {

namespace {

// All that a link names.
std::vector<Parameter> parameters_of(const Link& link) {
  if (const auto* launch = std::get_if<Launch>(&link)) {
    return launch->parameters;
  }
  const auto& product = std::get<Product>(link);
  std::vector<Parameter> found{product.a, product.b, product.out};
  for (const auto& size : {product.cols, product.depth}) {
    if (const auto* number = std::get_if<Number>(&size)) {
      found.push_back(*number);
    }
  }
  return found;
}

} // namespace

Chain::Chain(
    const std::string& machine_code, const std::vector<Link>& links, std::vector<mx::array> spares, mx::array workspace)
    : Work(std::move(spares)), workspace_(workspace) {
  if (workspace.nbytes() < 2 * Products::WORKSPACE) {
    throw std::invalid_argument("the workspace is too small");
  }
  mx::cu::device(mx::Device::gpu).make_current();
  check(cuModuleLoadData(&module_, machine_code.data()), "loading the chain's machine code");
  make(launched_side_);
  make(captured_side_);
  keep(workspace_);
  for (const auto& link : links) {
    for (const auto& each : parameters_of(link)) {
      keep(each);
    }
  }
  for (const auto& link : links) {
    links_.push_back(std::visit([this](const auto& one) { return made(one); }, link));
  }
  if (links_.size() < 2 || links_.front().function == nullptr || links_.back().function == nullptr) {
    throw std::invalid_argument("a chain begins and ends with a launch");
  }
  for (size_t i = 0; i < links_.size(); ++i) {
    const auto& places = links_[i].places;
    const auto names = [&](size_t place) { return std::find(places.begin(), places.end(), place) != places.end(); };
    if (names(INPUT) != (i == 0) || names(OUTPUT) != (i + 1 == links_.size())) {
      throw std::invalid_argument("the first launch of a chain takes the input and the last makes the output");
    }
  }
}

Chain::~Chain() {
  const bool entered = enter();
  ahead_.reset();
  if (!entered) {
    return;
  }
  destroy(launched_side_);
  destroy(captured_side_);
  if (module_ != nullptr) {
    cuModuleUnload(module_);
  }
}

void Chain::make(Side& side) {
  check(cuStreamCreate(&side.stream, CU_STREAM_NON_BLOCKING), "making a stream");
  check(cuEventCreate(&side.fork, CU_EVENT_DISABLE_TIMING), "making an event");
  check(cuEventCreate(&side.join, CU_EVENT_DISABLE_TIMING), "making an event");
}

void Chain::destroy(const Side& side) {
  for (auto event : {side.fork, side.join}) {
    if (event != nullptr) {
      cuEventDestroy(event);
    }
  }
  if (side.stream != nullptr) {
    cuStreamDestroy(side.stream);
  }
}

Chain::Made Chain::made(const Launch& launch) const {
  Made found;
  found.places = places(launch.parameters);
  found.function = kernel_of(module_, launch.kernel, launch.shared_bytes);
  set_sizes(found.settings, launch);
  found.attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
  found.attribute.value.programmaticStreamSerializationAllowed = 1;
  found.settings.numAttrs = launch.ahead ? 1 : 0;
  return found;
}

Chain::Made Chain::made(const Product& product) const {
  Made found;
  found.places = places({product.a, product.b, product.out});
  found.product = product;
  return found;
}

int Chain::size(const std::variant<int, Number>& given, const Values& values) const {
  const auto* number = std::get_if<Number>(&given);
  return number != nullptr ? static_cast<int>(values[place(*number)]) : std::get<int>(given);
}

void Chain::launch_one(const Made& made, const Values& values, CUstream stream) const {
  std::vector<uint64_t> own;
  std::vector<void*> pointers;
  own.reserve(made.places.size());
  for (const size_t place : made.places) {
    own.push_back(values[place]);
    pointers.push_back(&own.back());
  }
  CUlaunchConfig settings = made.settings;
  CUlaunchAttribute attribute = made.attribute;
  settings.attrs = &attribute;
  settings.hStream = stream;
  check(cuLaunchKernelEx(&settings, made.function, pointers.data(), nullptr), "a launch of a chain");
}

void Chain::multiply(const Made& made, const Values& values, CUstream stream, Kind* kind) {
  const Product& of = *made.product;
  const Sizes sizes{of.rows, size(of.cols, values), size(of.depth, values), of.transposed};
  const auto at = [&](int which) { return values[made.places[which]]; };
  const uint64_t workspace = values[place(workspace_)] + (of.aside ? Products::WORKSPACE : 0);
  if (kind != nullptr) {
    const Kind& own = products_.kind(sizes, at(0), at(1), at(2), workspace);
    kind->insert(kind->end(), own.begin(), own.end());
  }
  products_.multiply(sizes, at(0), at(1), at(2), workspace, stream);
}

void Chain::launch_between(const Values& values, CUstream stream, const Side& side, Kind* kind) {
  const std::lock_guard<std::mutex> lock(products_mutex_);
  bool forked = false;
  for (size_t i = 1; i + 1 < links_.size(); ++i) {
    const Made& made = links_[i];
    if (made.function != nullptr) {
      launch_one(made, values, stream);
    } else if (made.product->aside) {
      check(cuEventRecord(side.fork, stream), "recording an event");
      check(cuStreamWaitEvent(side.stream, side.fork, CU_EVENT_WAIT_DEFAULT), "waiting for an event");
      multiply(made, values, side.stream, kind);
      check(cuEventRecord(side.join, side.stream), "recording an event");
      forked = true;
    } else {
      multiply(made, values, stream, kind);
      if (forked) {
        check(cuStreamWaitEvent(stream, side.join, CU_EVENT_WAIT_DEFAULT), "waiting for an event");
        forked = false;
      }
    }
  }
}

void Chain::enqueue(const Values& values, CUstream stream) {
  // What was captured does not know the step's input and output.
  Values between = values;
  between[INPUT] = between[OUTPUT] = 0;
  const CUgraphExec captured = ahead_ != nullptr ? ahead_->take(between) : nullptr;
  launch_one(links_.front(), values, stream);
  if (captured != nullptr) {
    check(cuGraphLaunch(captured, stream), "launching a captured step");
    ++captured_;
  } else {
    launch_between(values, stream, launched_side_);
    ++one_by_one_;
  }
  launch_one(links_.back(), values, stream);
}

void Chain::prepare(const Buffers& buffers, const std::vector<int>& numbers) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (ahead_ == nullptr) {
    ahead_ = std::make_unique<Ahead>();
  }
  // Addresses are read here, by the thread that the arrays belong to.
  ahead_->begin(values(buffers, numbers), [this](const Values& values, CUstream stream) {
    Kind kind;
    launch_between(values, stream, captured_side_, &kind);
    return kind;
  });
}

std::pair<int, int> Chain::counts() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {captured_, one_by_one_};
}

} // namespace zmlx
