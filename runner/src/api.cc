// The C interface: exceptions become a status and a text.
#include "effc.h"

#include <exception>
#include <new>
#include <stdexcept>
#include <string>

#include "error.hpp"
#include "model.hpp"

struct effc_model {
  effc_model(const char* folder, int threads) : model(effc::open_artifact(folder), threads) {
    const auto note = [](const effc::TensorInfo& info) {
      effc::Shape shape;
      for (const effc::Dim& dim : info.shape) shape.push_back(dim.size);
      return shape;
    };
    for (const effc::TensorInfo& info : model.manifest().inputs) inputs.push_back(note(info));
    for (const effc::TensorInfo& info : model.manifest().outputs) outputs.push_back(note(info));
  }

  effc::Model model;
  std::vector<effc::Shape> inputs, outputs;
};

namespace {

thread_local std::string last_error;

effc_status failed(effc_status status, const char* text) noexcept {
  try {
    last_error = text;
  } catch (...) {
    last_error.clear();
  }
  return status;
}

template <typename Do>
effc_status guarded(Do act) noexcept {
  try {
    act();
    return EFFC_OK;
  } catch (const effc::Error& error) {
    return failed(static_cast<effc_status>(error.kind), error.text().c_str());
  } catch (const std::out_of_range&) {
    return failed(EFFC_BAD_INPUT, "there is no tensor of that index");
  } catch (const std::bad_alloc&) {
    return failed(EFFC_BAD_INPUT, "no memory is left");
  } catch (const std::exception& error) {
    return failed(EFFC_INTERNAL, error.what());
  }
}

void describe(const effc::TensorInfo& info, const effc::Shape& shape, effc_info* into) {
  *into = {info.name.c_str(), info.dtype.name, info.dtype.bytes(), shape.size(),
           shape.data(),      info.scale,      info.zero_point};
}

}  // namespace

effc_status effc_load(const char* folder, int threads, effc_model** model) {
  return guarded([&] { *model = new effc_model(folder, threads); });
}

void effc_free(effc_model* model) { delete model; }

size_t effc_inputs(const effc_model* model) { return model->inputs.size(); }

size_t effc_outputs(const effc_model* model) { return model->outputs.size(); }

effc_status effc_input_info(const effc_model* model, size_t index, effc_info* info) {
  return guarded([&] { describe(model->model.manifest().inputs.at(index), model->inputs.at(index), info); });
}

effc_status effc_output_info(const effc_model* model, size_t index, effc_info* info) {
  return guarded([&] { describe(model->model.manifest().outputs.at(index), model->outputs.at(index), info); });
}

effc_status effc_set(effc_model* model, size_t index, const void* data, size_t bytes, const int64_t* shape) {
  return guarded([&] { model->model.set(index, data, bytes, shape); });
}

effc_status effc_run(effc_model* model) {
  return guarded([&] { model->model.run(); });
}

effc_status effc_get(const effc_model* model, size_t index, effc_tensor* output) {
  return guarded([&] {
    const effc::View view = model->model.output(index);
    *output = {view.data, view.bytes, view.rank, view.shape};
  });
}

const char* effc_error(void) { return last_error.c_str(); }
