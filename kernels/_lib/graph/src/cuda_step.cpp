#include "cuda_step.h"

#include <stdexcept>

#include "mlx/backend/cuda/device.h"
#include "mlx/primitives.h"

namespace mx = mlx::core;

namespace zmlx {

namespace {

class Step : public mx::Primitive {
 public:
  Step(mx::Stream stream, std::shared_ptr<Work> work, std::shared_ptr<Buffers> buffers, std::vector<int> numbers)
      : mx::Primitive(stream), work_(std::move(work)), buffers_(std::move(buffers)), numbers_(std::move(numbers)) {}

  void eval_cpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    throw std::runtime_error("a graph step runs on a GPU only");
  }

  void eval_gpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& encoder = mx::cu::get_command_encoder(stream());
    encoder.device().make_current();
    const mx::array& in = inputs[0];
    mx::array& out = outputs[0];
    if (!work_->lend(out)) {
      // Any operation gives a buffer of its own, since what it is given is kept.
      const mx::array& like = work_->like();
      const mx::array fresh = mx::negative(like, stream());
      std::vector<mx::array> made{fresh};
      fresh.primitive_ptr()->eval_gpu({like}, made);
      out.copy_shared_buffer(fresh);
    }
    encoder.commit();
    work_->launch(in, out, *buffers_, numbers_, encoder.stream());
    // The buffers outlive the step, whatever becomes of the cache that they belong to.
    encoder.add_completed_handler([work = work_, buffers = buffers_]() {});
  }

  const char* name() const override {
    return "ZmlxGraphStep";
  }

 private:
  std::shared_ptr<Work> work_;
  std::shared_ptr<Buffers> buffers_;
  std::vector<int> numbers_;
};

} // namespace

mx::array step(
    const mx::array& in, const std::shared_ptr<Work>& work, const std::shared_ptr<Buffers>& buffers,
    const std::vector<int>& numbers) {
  if (mx::default_device() != mx::Device::gpu) {
    throw std::invalid_argument("a graph step runs on a GPU only");
  }
  if (in.is_tracer()) {
    throw std::invalid_argument("a graph step cannot be traced");
  }
  if (static_cast<int>(buffers->arrays.size()) < work->buffers() ||
      static_cast<int>(numbers.size()) < work->numbers()) {
    throw std::invalid_argument("the graph needs more buffers or numbers");
  }
  auto primitive =
      std::make_shared<Step>(mx::default_stream(mx::Device::gpu), work, buffers, numbers);
  mx::array out(work->like().shape(), work->like().dtype(), std::move(primitive), {in});
  mx::async_eval({out});
  // Who reads a buffer on another stream waits for the step, as for any result.
  for (const auto& array : buffers->arrays) {
    array.set_status(mx::array::Status::evaluated);
    array.attach_event(out.event());
  }
  return out;
}

} // namespace zmlx
