package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vkbert/vkbert"
)

// modelFlags say which model to open, and how.
type modelFlags struct {
	model, device, dtype    string
	dimensions, batchTokens int
	noTruncate              bool
}

// addModel adds -m alone.
func (f *modelFlags) addModel(cmd *cobra.Command) {
	f.addOptionalModel(cmd)
	cmd.MarkFlagRequired("model") //nolint:errcheck // the flag is there
}

func (f *modelFlags) addOptionalModel(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.model, "model", "m", "", "Hugging Face id, model directory or path of a model.safetensors")
}

// addDevice adds what every command has that computes.
func (f *modelFlags) addDevice(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.device, "device", "auto", `auto, cpu, vulkan, vulkan:N or vulkan:NAME ("vkbert devices" lists them), reference; several with commas, or vulkan:all, share the work`)
	flags.StringVar(&f.dtype, "dtype", "auto", "weights on the device: auto, f32, f16 or int8")
	flags.IntVar(&f.batchTokens, "batch-tokens", 0, "tokens that the device works on at a time; 0 goes by the kind of device")
	complete(cmd, "device", "auto", "cpu", "vulkan", "vulkan:0", "vulkan:all", "reference")
	complete(cmd, "dtype", "auto", "f32", "f16", "int8")
}

func (f *modelFlags) addDimensions(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.dimensions, "dimensions", 0, "keep the first N values of each vector; 0 keeps what the model says")
}

func (f *modelFlags) addTruncation(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.noTruncate, "no-truncate", false, "refuse texts over the model's limit; the default cuts them off")
}

func complete(cmd *cobra.Command, flag string, values ...string) {
	cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) //nolint:errcheck // the flag is there
}

// options are what the flags say. The few messages of a model go to standard error.
func (f *modelFlags) options(cmd *cobra.Command) ([]vkbert.Option, error) {
	for _, n := range []struct {
		flag  string
		value int
	}{{"dimensions", f.dimensions}, {"batch-tokens", f.batchTokens}} {
		if cmd.Flags().Lookup(n.flag) == nil {
			n.flag = "max-" + n.flag // as serve calls it
		}
		if n.value < 0 {
			return nil, usagef("--%s %d: want 0 or more", n.flag, n.value)
		}
	}
	return []vkbert.Option{vkbert.WithDevice(f.device), vkbert.WithDType(f.dtype), vkbert.WithMaxBatchTokens(f.batchTokens),
		vkbert.WithDimensions(f.dimensions), vkbert.WithTruncation(!f.noTruncate), vkbert.WithLogger(logger(cmd))}, nil
}

// open opens the model.
func (f *modelFlags) open(cmd *cobra.Command) (*vkbert.Model, error) {
	opts, err := f.options(cmd)
	if err != nil {
		return nil, err
	}
	return vkbert.Open(cmd.Context(), f.model, opts...)
}

// openTexts is open for commands that take texts, which a random model cannot.
func (f *modelFlags) openTexts(cmd *cobra.Command) (*vkbert.Model, error) {
	if strings.HasPrefix(f.model, "random:") {
		return nil, usagef("-m %s: random weights come without a tokenizer and are for bench and info alone", f.model)
	}
	return f.open(cmd)
}

// logger writes warnings to standard error.
func logger(cmd *cobra.Command) *slog.Logger {
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

// promptFlags choose the prompt that is put before each text, and the task of a model that has several.
type promptFlags struct {
	name, task      string
	query, document bool
}

func (f *promptFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.name, "prompt", "", "put the model's prompt of this name before each text")
	flags.BoolVar(&f.query, "query", false, `the texts are queries: use the prompt "query", if the model has it`)
	flags.BoolVar(&f.document, "document", false, `the texts are documents: use the prompt "document", if the model has it`)
	flags.StringVar(&f.task, "task", "", "the task of a model that has several; its prompt is used, if the model has one of that name and --prompt says nothing else")
	cmd.MarkFlagsMutuallyExclusive("prompt", "query", "document")
	cmd.MarkFlagsMutuallyExclusive("task", "query", "document")
}

// options are the prompt and the task of a call.
func (f *promptFlags) options() []vkbert.EmbedOption {
	var opts []vkbert.EmbedOption
	if f.task != "" {
		opts = append(opts, vkbert.WithTask(f.task))
	}
	if f.name != "" {
		opts = append(opts, vkbert.WithPrompt(f.name))
	}
	return opts
}

// embed returns the function that embeds texts with the prompt.
func (f *promptFlags) embed(m *vkbert.Model) func(context.Context, []string) ([][]float32, error) {
	switch {
	case f.query:
		return m.EmbedQueries
	case f.document:
		return m.EmbedDocuments
	}
	return func(ctx context.Context, texts []string) ([][]float32, error) {
		return m.EmbedWith(ctx, texts, f.options()...)
	}
}

// tokenize returns the function that tokenizes a text with the prompt.
func (f *promptFlags) tokenize(m *vkbert.Model) func(string) (vkbert.Tokens, error) {
	switch {
	case f.query:
		return m.TokenizeQuery
	case f.document:
		return m.TokenizeDocument
	}
	return func(text string) (vkbert.Tokens, error) { return m.TokenizeWith(text, f.options()...) }
}

// choice is a flag that takes one of a few values.
type choice struct {
	value   string
	allowed []string
}

func newChoice(allowed ...string) *choice { return &choice{value: allowed[0], allowed: allowed} }

// add adds the flag; the first of the values is the default.
func (c *choice) add(cmd *cobra.Command, name, usage string) {
	cmd.Flags().Var(c, name, usage)
	complete(cmd, name, c.allowed...)
}

// String, Set and Type are pflag.Value's.
func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return strings.Join(c.allowed, "|") }
func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("want one of %s", strings.Join(c.allowed, ", "))
	}
	c.value = s
	return nil
}
