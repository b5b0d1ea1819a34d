/* The whole of effc.h: inputs from stdin, one after another; outputs as text. */
#include <effc.h>
#include <stdio.h>
#include <stdlib.h>

static int complain(void) {
  fprintf(stderr, "%s\n", effc_error());
  return 1;
}

/* Fill input `index` from stdin; what is free is 1. */
static int feed(effc_model *model, size_t index) {
  effc_info info;
  if (effc_input_info(model, index, &info)) return 1;
  int64_t shape[8];
  size_t bytes = info.item_bytes;
  for (size_t i = 0; i < info.rank && i < 8; ++i) {
    shape[i] = info.shape[i] < 0 ? 1 : info.shape[i];
    bytes *= (size_t)shape[i];
  }
  void *data = malloc(bytes);
  const size_t got = data ? fread(data, 1, bytes, stdin) : 0;
  const int failed = effc_set(model, index, data, got, shape);
  free(data);
  return failed;
}

int main(int argc, char **argv) {
  effc_model *model = NULL;
  if (argc != 2 || effc_load(argv[1], 1, &model)) return complain();
  int failed = 0;
  for (size_t i = 0; i < effc_inputs(model) && !failed; ++i) failed = feed(model, i);
  failed = failed || effc_run(model);
  for (size_t i = 0; i < effc_outputs(model) && !failed; ++i) {
    effc_info info;
    effc_tensor output;
    failed = effc_output_info(model, i, &info) || effc_get(model, i, &output);
    if (!failed) printf("%s %s %zu bytes\n", info.name, info.dtype, output.bytes);
  }
  if (failed) complain();
  effc_free(model);
  return failed;
}
