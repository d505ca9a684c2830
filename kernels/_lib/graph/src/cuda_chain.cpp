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
  if (links_.size() < 2 || links_.front().product || links_.back().product) {
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
  // They launch the module's kernels: the driver has to forget them first.
  executables_.clear();
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
  found.node.func = found.function;
  set_sizes(found.node, launch);
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

std::vector<void*> Chain::parameters(const Made& made, const Values& values) {
  std::vector<void*> pointers;
  for (const size_t place : made.places) {
    pointers.push_back(const_cast<uint64_t*>(&values[place]));
  }
  return pointers;
}

void Chain::launch_one(const Made& made, const Values& values, CUstream stream) const {
  CUlaunchConfig settings = made.settings;
  CUlaunchAttribute attribute = made.attribute;
  settings.attrs = &attribute;
  settings.hStream = stream;
  check(cuLaunchKernelEx(&settings, made.function, parameters(made, values).data(), nullptr), "a launch of a chain");
}

Sizes Chain::sizes_of(const Made& made, const Values& values) const {
  const Product& of = *made.product;
  return {of.rows, size(of.cols, values), size(of.depth, values), of.transposed};
}

Addresses Chain::addresses_of(const Made& made, const Values& values) const {
  const auto at = [&](int which) { return values[made.places[which]]; };
  return {at(0), at(1), at(2), values[place(workspace_)] + (made.product->aside ? Products::WORKSPACE : 0)};
}

void Chain::launch_between(
    const Values& values, CUstream stream, const Side& side, std::vector<std::vector<CUgraphNode>>* nodes) {
  bool forked = false;
  for (size_t i = 1; i + 1 < links_.size(); ++i) {
    const Made& made = links_[i];
    const bool aside = made.product && made.product->aside;
    const CUstream own = aside ? side.stream : stream;
    if (aside) {
      check(cuEventRecord(side.fork, stream), "recording an event");
      check(cuStreamWaitEvent(side.stream, side.fork, CU_EVENT_WAIT_DEFAULT), "waiting for an event");
    }
    if (made.product) {
      products_.multiply(sizes_of(made, values), addresses_of(made, values), own);
    } else {
      launch_one(made, values, own);
    }
    if (nodes != nullptr) {
      (*nodes)[i] = {last_captured(own)};
    }
    if (aside) {
      check(cuEventRecord(side.join, side.stream), "recording an event");
      forked = true;
    } else if (made.product && forked) {
      check(cuStreamWaitEvent(stream, side.join, CU_EVENT_WAIT_DEFAULT), "waiting for an event");
      forked = false;
    }
  }
}

CUgraphExec Chain::ready(const Values& values, CUstream stream) {
  const std::lock_guard<std::mutex> lock(products_mutex_);
  Kind kind;
  for (const auto& made : links_) {
    if (made.product) {
      const Kind& own = products_.kind(sizes_of(made, values), addresses_of(made, values));
      kind.insert(kind.end(), own.begin(), own.end());
    }
  }
  Executable* found = executables_.find(kind);
  if (found == nullptr) {
    found = &executables_.make();
    capture(*found, values, stream);
  } else {
    found->kind.clear(); // until all of it is set
    set_launches(*found, values);
    set_products(*found, values, stream);
  }
  found->kind = std::move(kind);
  found->values = values;
  executables_.use(*found);
  check(cuGraphUpload(found->handle, stream), "bringing a step to the GPU");
  return found->handle;
}

void Chain::capture(Executable& into, const Values& values, CUstream stream) {
  into.nodes.resize(links_.size());
  into.graph = captured(stream, [&]() { launch_between(values, stream, captured_side_, &into.nodes); });
  for (size_t i = 0; i < links_.size(); ++i) {
    if (links_[i].product) {
      const Kind& kind = products_.kind(sizes_of(links_[i], values), addresses_of(links_[i], values));
      into.nodes[i] = run_of(into.nodes[i].front(), length_of(kind));
    }
  }
  check(cuGraphInstantiate(&into.handle, into.graph.get(), 0), "making a captured step executable");
}

void Chain::set_launches(const Executable& executable, const Values& values) const {
  const auto differs = [&](size_t place) { return values[place] != executable.values[place]; };
  for (size_t i = 1; i + 1 < links_.size(); ++i) {
    const Made& made = links_[i];
    if (!made.product && std::any_of(made.places.begin(), made.places.end(), differs)) {
      auto pointers = parameters(made, values);
      CUDA_KERNEL_NODE_PARAMS settings = made.node;
      settings.kernelParams = pointers.data();
      check(
          cuGraphExecKernelNodeSetParams(executable.handle, executable.nodes[i][0], &settings),
          "setting a launch anew");
    }
  }
}

void Chain::set_products(const Executable& executable, const Values& values, CUstream stream) {
  std::vector<CUgraphNode> last(links_.size());
  const OwnGraph products = captured(stream, [&]() {
    for (size_t i = 0; i < links_.size(); ++i) {
      if (links_[i].product) {
        products_.multiply(sizes_of(links_[i], values), addresses_of(links_[i], values), stream);
        last[i] = last_captured(stream);
      }
    }
  });
  for (size_t i = 0; i < links_.size(); ++i) {
    if (links_[i].product) {
      const auto& nodes = executable.nodes[i];
      const auto now = run_of(last[i], nodes.size());
      for (size_t at = 0; at < nodes.size(); ++at) {
        set(executable.handle, nodes[at], now[at]);
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
    check(cuGraphLaunch(captured, stream), "launching a step's graph");
    ++captured_;
  } else {
    const std::lock_guard<std::mutex> lock(products_mutex_);
    launch_between(values, stream, launched_side_);
    ++one_by_one_;
  }
  launch_one(links_.back(), values, stream);
}

void Chain::prepare(const Buffers& buffers, const std::vector<int>& numbers) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (ahead_ == nullptr) {
    ahead_ = std::make_unique<Ahead>([this](const Values& values, CUstream stream) { return ready(values, stream); });
  }
  // Addresses are read here, by the thread that the arrays belong to. A step's own are compared with them.
  ahead_->begin(values(buffers, numbers, false));
}

std::pair<int, int> Chain::counts() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {captured_, one_by_one_};
}

std::string Chain::fault() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return ahead_ != nullptr ? ahead_->fault() : "";
}

} // namespace zmlx
