package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vkbert/vkbert/bert"
	"github.com/vkbert/vkbert/loader"
	"github.com/vkbert/vkbert/loader/convert"
)

func convertCommand() *cobra.Command {
	var f modelFlags
	var out string
	var packed bool
	var o convert.Options
	dtype, pooling := newChoice("keep", "f32", "f16", "bf16"), newChoice("auto", "mean", "cls", "lasttoken")
	cmd := &cobra.Command{
		Use:   "convert -m MODEL -o DIR",
		Short: "Convert weights of PyTorch or GGUF, or safetensors in shards, to a model directory",
		Long: `Convert weights of PyTorch (pytorch_model.bin) or GGUF, or safetensors in shards, to a model directory with one model.safetensors, and print its path.
MODEL is a Hugging Face id that is in the cache, a model directory, or the path of a .safetensors, .bin, .index.json or .gguf file.

Code that a PyTorch file may hold is not run: a file with anything but tensors is refused. Of GGUF files those of embedding models are read, in F32, F16,
BF16 or Q8_0; their WordPiece and Unigram tokenizers are rebuilt, for others --tokenizer names a directory with the model's tokenizer.json. What such a file
does not say is told on standard error.

With --packed the weights are stored as vkbert's program takes them, one tensor for each of its own, in a layout that is named in the file ("rows-v1"): they are
streamed to the device as they are. Nothing else reads such a file, and a later vkbert that makes its program otherwise refuses it; keep the original.`,
		Example: `  vkbert convert -m ./old-model -o ./model
  vkbert convert -m Qwen3-Embedding-0.6B-Q8_0.gguf --tokenizer ./tokenizer -o ./qwen3 --dtype f16`,
		Args: cobra.NoArgs,
	}
	cmd.RunE = run(func(cmd *cobra.Command, _ []string) error {
		src, err := convertSource(f.model)
		if err != nil {
			return err
		}
		bar := newProgress(cmd, 1, true, "convert")
		defer bar.end()
		var notes []string
		o.DType, o.Pooling = strings.TrimPrefix(dtype.value, "keep"), strings.TrimPrefix(pooling.value, "auto")
		o.Note = func(text string) { notes = append(notes, text) }
		o.Progress = func(done, total int64) {
			bar.setTotal(total)
			bar.set(done)
		}
		if packed {
			o.Finish = bert.Pack
		}
		err = convert.Convert(cmd.Context(), src, out, o)
		bar.end()
		if err != nil {
			return err
		}
		for _, text := range notes {
			logger(cmd).Warn(text)
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), out)
		return err
	})
	cmd.Flags().StringVarP(&f.model, "model", "m", "", "Hugging Face id, model directory or path of a file of weights")
	cmd.Flags().StringVarP(&out, "output", "o", "", "directory to make; it must not exist, or be empty")
	for _, name := range []string{"model", "output"} {
		cmd.MarkFlagRequired(name) //nolint:errcheck // the flag is there
	}
	dtype.add(cmd, "dtype", "what numbers are stored as; keep makes quantised ones f32")
	pooling.add(cmd, "pooling", "how the model pools; auto is as a GGUF file says")
	cmd.Flags().BoolVar(&packed, "packed", false, "store the tensors as the program takes them, fused and row by row: for vkbert alone, opens without conversion")
	cmd.Flags().StringVar(&o.Tokenizer, "tokenizer", "", "directory with the model's tokenizer.json, for a GGUF file whose own cannot be rebuilt")
	cmd.MarkFlagDirname("tokenizer") //nolint:errcheck // the flag is there
	cmd.MarkFlagDirname("output")    //nolint:errcheck // the flag is there
	return cmd
}

// convertSource returns the path that MODEL means: as it is if there is something, else the folder of a model in the cache.
func convertSource(model string) (string, error) {
	if _, err := os.Stat(model); !errors.Is(err, fs.ErrNotExist) {
		return model, err
	}
	dir, _, err := loader.Resolve(model)
	return dir, err
}
