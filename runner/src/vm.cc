#include "vm.hpp"

#include <dlfcn.h>
#include <tvm/ffi/c_api.h>
// The runtime's functions are declared; of the classes behind, this program's copies must not show: an Error of another
// C++ library would take the place of the runtime's own.
#undef TVM_FFI_DLL
#define TVM_FFI_DLL __attribute__((visibility("hidden")))
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/function.h>
#include <tvm/ffi/string.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <new>
#include <string>

#include "cpu.hpp"
#include "error.hpp"

// Every call goes through the C function TVMFFIFunctionCall, for no exception may cross from the runtime's C++ library
// into this program's, which may be another. The headers' own operator() takes a short cut in C++.

namespace effc {
namespace ffi = tvm::ffi;
namespace {

constexpr std::size_t kAlignment = 64;  // what the kernels' vector loads are promised
constexpr int kPooled = 2;              // AllocatorType of the relax VM: blocks are kept for the next run
constexpr int kOneCpuEach = -2;         // AffinityMode of the thread pool: worker i runs on the i-th CPU named

struct Aligned {
  void AllocData(DLTensor* tensor) {
    const std::size_t bytes = (ffi::GetDataSize(*tensor) + kAlignment - 1) / kAlignment * kAlignment;
    tensor->data = std::aligned_alloc(kAlignment, bytes ? bytes : kAlignment);
    if (!tensor->data) throw std::bad_alloc();
  }
  void FreeData(DLTensor* tensor) { std::free(tensor->data); }
};

ffi::Any call_packed(const ffi::Function& function, const ffi::AnyView* arguments, std::size_t count) {
  ffi::Any result;
  void* handle = ffi::details::ObjectUnsafe::TVMFFIObjectPtrFromObjectRef(function);
  auto* given = const_cast<TVMFFIAny*>(reinterpret_cast<const TVMFFIAny*>(arguments));
  TVM_FFI_CHECK_SAFE_CALL(
      TVMFFIFunctionCall(handle, given, static_cast<std::int32_t>(count), reinterpret_cast<TVMFFIAny*>(&result)));
  return result;
}

template <typename... Args>
ffi::Any call(const ffi::Function& function, const Args&... args) {
  const std::array<ffi::AnyView, sizeof...(args)> arguments = {ffi::AnyView(args)...};
  return call_packed(function, arguments.data(), arguments.size());
}

template <typename... Args>
ffi::Any registered(const char* name, const Args&... args) {
  return call(ffi::Function::GetGlobalRequired(name), args...);
}

ffi::Function method(const ffi::ObjectRef& module, const char* name) {
  const auto found = registered("ffi.ModuleGetFunction", module, name, true).cast<ffi::Optional<ffi::Function>>();
  if (!found) throw Error(Kind::failed, std::string("the library has no function ") + name);
  return *found;
}

void pin_threads(const std::vector<int>& cpus) {
  ffi::Array<ffi::String> names;
  for (const int cpu : cpus) names.push_back(ffi::String(std::to_string(cpu)));
  registered("runtime.config_threadpool", kOneCpuEach, static_cast<int>(cpus.size()), names);
  bind(cpus.front());  // the pool leaves the thread that it serves unbound
}

View view(const ffi::Tensor& tensor) {
  const DLTensor* raw = tensor.GetDLTensorPtr();
  if (!ffi::IsContiguous(*raw)) throw Error(Kind::failed, "an output is not dense");
  return {static_cast<const char*>(raw->data) + raw->byte_offset,
          ffi::GetDataSize(*raw),
          raw->shape,
          static_cast<std::size_t>(raw->ndim),
          raw->dtype.code,
          raw->dtype.bits};
}

// What TVM throws, as an Error.
template <typename Do>
auto reported(const std::string& where, Do act) {
  try {
    return act();
  } catch (const ffi::Error& error) {
    throw Error(Kind::failed, error.kind() + ": " + error.message(), where);
  }
}

}  // namespace

struct Vm::State {
  std::string library;
  ffi::Function main;
  std::vector<ffi::Tensor> inputs;
  ffi::Any result;
  std::vector<View> outputs;
};

Vm::Vm(const std::filesystem::path& library, std::size_t inputs, const std::vector<int>& cpus)
    : state_(std::make_unique<State>()) {
  state_->library = library.string();
  state_->inputs.resize(inputs);
  // The library takes the runtime's symbols from the global scope, also where this code was itself loaded by dlopen.
  dlopen("libtvm_ffi.so", RTLD_LAZY | RTLD_NOLOAD | RTLD_GLOBAL);
  reported(state_->library, [&] {
    if (!cpus.empty()) pin_threads(cpus);
    const auto loaded = registered("ffi.ModuleLoadFromFile", state_->library).cast<ffi::ObjectRef>();
    const auto machine = call(method(loaded, "vm_load_executable")).cast<ffi::ObjectRef>();
    call(method(machine, "vm_initialization"), static_cast<int>(kDLCPU), 0, kPooled);
    state_->main = method(machine, "main");
  });
}

Vm::~Vm() = default;

void* Vm::input(std::size_t index, DType dtype, const std::vector<std::int64_t>& shape) {
  ffi::Tensor& kept = state_->inputs.at(index);
  const ffi::ShapeView wanted(shape.data(), shape.size());
  const bool fits = kept.defined() && std::equal(shape.begin(), shape.end(), kept.shape().begin(), kept.shape().end());
  if (!fits) kept = ffi::Tensor::FromNDAlloc(Aligned(), wanted, DLDataType{dtype.code, dtype.bits, 1}, {kDLCPU, 0});
  return kept.data_ptr();
}

void Vm::run() {
  State& state = *state_;
  state.outputs.clear();
  state.result = nullptr;  // its memory may serve this run
  reported(state.library, [&] {
    const std::vector<ffi::AnyView> arguments(state.inputs.begin(), state.inputs.end());
    state.result = call_packed(state.main, arguments.data(), arguments.size());
    if (const auto single = state.result.as<ffi::Tensor>()) {
      state.outputs.push_back(view(*single));
      return;
    }
    for (const ffi::Any& item : state.result.cast<ffi::Array<ffi::Any>>())
      state.outputs.push_back(view(item.cast<ffi::Tensor>()));
  });
}

const std::vector<View>& Vm::outputs() const { return state_->outputs; }

}  // namespace effc
