// Package convert turns the weights that people have into the one form that
// vkbert opens: a model directory with a model.safetensors.
//
// It reads PyTorch's pytorch_model.bin (without running the code that a pickle
// may hold), GGUF files of embedding models, and safetensors in one file or in
// shards; all of them without a tensor ever being in memory as a whole, but for
// the rare one that PyTorch stored as a transposed view. As in package loader
// nothing in a file is trusted: each size is checked before it is used, and no
// header makes more than four times its own length and 1 MiB be allocated.
//
// The package is internal to vkbert in all but name: its API may change between
// releases.
package convert
