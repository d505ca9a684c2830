#include "cuda_compile.h"

#include <nvrtc.h>

#include <stdexcept>

#include "mlx/backend/cuda/device.h"

namespace zmlx {

namespace {

void check(nvrtcResult result, const char* what) {
  if (result != NVRTC_SUCCESS) {
    throw std::runtime_error(std::string(what) + ": " + nvrtcGetErrorString(result));
  }
}

struct Program {
  nvrtcProgram handle = nullptr;
  ~Program() {
    if (handle != nullptr) {
      nvrtcDestroyProgram(&handle);
    }
  }
};

std::string log_of(nvrtcProgram program) {
  size_t size = 0;
  check(nvrtcGetProgramLogSize(program, &size), "the compiler's log");
  std::string log(size, '\0');
  check(nvrtcGetProgramLog(program, log.data()), "the compiler's log");
  return log;
}

} // namespace

std::vector<char> compile(const std::string& text, const std::vector<std::string>& options) {
  Program program;
  check(nvrtcCreateProgram(&program.handle, text.c_str(), "zmlx_graph.cu", 0, nullptr, nullptr), "NVRTC");
  std::vector<const char*> given;
  for (const auto& option : options) {
    given.push_back(option.c_str());
  }
  if (nvrtcCompileProgram(program.handle, static_cast<int>(given.size()), given.data()) != NVRTC_SUCCESS) {
    throw std::runtime_error("the device code does not compile:\n" + log_of(program.handle));
  }
  size_t size = 0;
  check(nvrtcGetCUBINSize(program.handle, &size), "the machine code");
  std::vector<char> code(size);
  check(nvrtcGetCUBIN(program.handle, code.data()), "the machine code");
  return code;
}

std::string architecture() {
  auto& device = mlx::core::cu::device(mlx::core::Device::gpu);
  const int major = device.compute_capability_major();
  const std::string features = major >= 9 ? "a" : "";
  return "sm_" + std::to_string(major) + std::to_string(device.compute_capability_minor()) + features;
}

std::string compiler() {
  int major = 0;
  int minor = 0;
  check(nvrtcVersion(&major, &minor), "NVRTC");
  return std::to_string(major) + "." + std::to_string(minor);
}

} // namespace zmlx
