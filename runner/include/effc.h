/* effc on the device: load an artifact folder that `effc build --target tvm-...` wrote, and run it.
 *
 *   effc_model *model = NULL;
 *   if (effc_load("out/tvm-arm64-int8", 1, &model)) puts(effc_error());
 *   effc_set(model, 0, pixels, sizeof pixels, NULL);
 *   effc_run(model);
 *   effc_tensor logits;
 *   effc_get(model, 0, &logits);
 *   effc_free(model);
 *
 * Tensors are dense, in C order, in the byte order of the machine. A model belongs to the thread that loaded it:
 * the runtime's workers serve that thread alone. Several models may live at once, one a thread or many in one. */
#ifndef EFFC_H
#define EFFC_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define EFFC_API __attribute__((visibility("default")))
#else
#define EFFC_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The same numbers as the exit codes of effc and effc-run. */
typedef enum effc_status {
  EFFC_OK = 0,
  EFFC_INTERNAL = 1,
  EFFC_BAD_INPUT = 2,      /* a damaged artifact, one for another machine, a wrong index, size or shape */
  EFFC_BACKEND_FAILED = 6, /* the TVM runtime could not load or run the library */
} effc_status;

typedef struct effc_model effc_model;

/* An input or output as the manifest states it. The pointers live as long as the model. */
typedef struct effc_info {
  const char *name;
  const char *dtype;    /* NumPy's name: float32, float16, int8, uint8, int64, bool ... */
  size_t item_bytes;
  size_t rank;
  const int64_t *shape; /* -1 where the dim is free */
  double scale;         /* real = (stored - zero_point) * scale; 0 where the tensor is not quantized */
  int32_t zero_point;
} effc_info;

/* The value of an output. The pointers live until the next run. */
typedef struct effc_tensor {
  const void *data;
  size_t bytes;
  size_t rank;
  const int64_t *shape;
} effc_tensor;

/* Open `folder`, check every file against the manifest and load the library.
 * threads: CPU threads, this one among them, each bound to a CPU; 0 leaves number and place to the runtime.
 * What a thread loads first settles how many threads its later models have at most. */
EFFC_API effc_status effc_load(const char *folder, int threads, effc_model **model);
EFFC_API void effc_free(effc_model *model);

EFFC_API size_t effc_inputs(const effc_model *model);
EFFC_API size_t effc_outputs(const effc_model *model);
EFFC_API effc_status effc_input_info(const effc_model *model, size_t index, effc_info *info);
EFFC_API effc_status effc_output_info(const effc_model *model, size_t index, effc_info *info);

/* Copy `data` into an input, where it stays for all later runs.
 * shape: `rank` dims; NULL where the manifest leaves none free. */
EFFC_API effc_status effc_set(effc_model *model, size_t index, const void *data, size_t bytes, const int64_t *shape);
EFFC_API effc_status effc_run(effc_model *model);
EFFC_API effc_status effc_get(const effc_model *model, size_t index, effc_tensor *output);

/* What the last call of this thread that failed found wrong: one sentence, then perhaps a line with a hint. */
EFFC_API const char *effc_error(void);

#ifdef __cplusplus
}
#endif
#endif
