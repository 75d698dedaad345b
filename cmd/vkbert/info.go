package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/loader"
)

// modelReport is what info prints.
type modelReport struct {
	Model          string            `json:"model"`
	Directory      string            `json:"directory,omitempty"`
	Kind           string            `json:"kind,omitempty"` // the class of sentence-transformers that opens it
	Architecture   string            `json:"architecture"`
	Dimensions     int               `json:"dimensions"`
	MaxTokens      int               `json:"max_tokens"`
	Modules        []string          `json:"modules"`
	Pooling        []string          `json:"pooling"`
	Prompts        map[string]string `json:"prompts"`
	DefaultPrompt  string            `json:"default_prompt,omitempty"`
	Similarity     string            `json:"similarity,omitempty"`
	Hidden         int               `json:"hidden"`
	Layers         int               `json:"layers"`
	Heads          int               `json:"heads"`
	Vocabulary     int               `json:"vocabulary"`
	UnusedTensors  []string          `json:"unused_tensors"`
	Device         string            `json:"device"`
	DType          string            `json:"dtype"`
	MaxBatchTokens int               `json:"max_batch_tokens"`
	WeightBytes    uint64            `json:"weight_bytes"`
	ArenaBytes     uint64            `json:"arena_bytes"`
	HostBytes      uint64            `json:"host_bytes"`
}

func reportModel(i vkbert.Info) modelReport {
	return modelReport{
		Model: i.Name, Directory: i.Dir, Architecture: i.Architecture, Dimensions: i.Dimensions, MaxTokens: i.MaxTokens,
		Modules: list(i.Modules), Pooling: list(i.Pooling), Prompts: i.Prompts, DefaultPrompt: i.DefaultPrompt, Similarity: i.Similarity,
		Hidden: i.Hidden, Layers: i.Layers, Heads: i.Heads, Vocabulary: i.Vocabulary, UnusedTensors: list(i.Unused),
		Device: i.Device.Name, DType: i.DType, MaxBatchTokens: i.MaxBatchTokens,
		WeightBytes: i.WeightBytes, ArenaBytes: i.ArenaBytes, HostBytes: i.HostBytes,
	}
}

// list is never null in JSON.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func (r modelReport) print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(table, name+"\t"+format+"\n", args...) }
	row("model", "%s", r.Model)
	if r.Directory != "" {
		row("directory", "%s", r.Directory)
	}
	if r.Kind != "" {
		row("kind", "%s", r.Kind)
	}
	row("architecture", "%s: %d layers of %d, %d heads, vocabulary of %d", r.Architecture, r.Layers, r.Hidden, r.Heads, r.Vocabulary)
	row("dimensions", "%d", r.Dimensions)
	more := ""
	if r.MaxTokens > r.MaxBatchTokens {
		more = fmt.Sprintf(", beyond %d of them only with --batch-tokens", r.MaxBatchTokens)
	}
	row("longest text", "%d tokens%s", r.MaxTokens, more)
	row("modules", "%s", orNone(strings.Join(r.Modules, ", ")))
	row("pooling", "%s", orNone(strings.Join(r.Pooling, ", ")))
	for _, name := range slices.Sorted(maps.Keys(r.Prompts)) {
		isDefault := ""
		if name == r.DefaultPrompt {
			isDefault = " (the default)"
		}
		row("prompt", "%s: %q%s", name, r.Prompts[name], isDefault)
	}
	if len(r.Prompts) == 0 {
		row("prompts", "none")
	}
	row("similarity", "%s", orNone(r.Similarity))
	row("unused tensors", "%s", orNone(strings.Join(r.UnusedTensors, ", ")))
	row("device", "%s", r.Device)
	row("weights", "%s in %s", megabytes(r.WeightBytes), r.DType)
	row("batch", "%d tokens: %s on the device, %s on the host", r.MaxBatchTokens, megabytes(r.ArenaBytes), megabytes(r.HostBytes))
	return table.Flush()
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// megabytes are 10⁶ bytes.
func megabytes(n uint64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// openAny opens a model as what its files say that it is for; kind is "" for a random one.
func (f *modelFlags) openAny(cmd *cobra.Command) (m opened, kind string, err error) {
	if strings.HasPrefix(f.model, "random:") {
		m, err = f.open(cmd)
		return m, "", err
	}
	dir, _, err := loader.Resolve(f.model)
	if err != nil {
		return nil, "", err
	}
	files, err := loader.Open(dir)
	if err != nil {
		return nil, "", err
	}
	is := files.Kind
	if err := files.Close(); err != nil {
		return nil, "", err
	}
	options, err := f.options(cmd)
	if err != nil {
		return nil, "", err
	}
	ctx := cmd.Context()
	switch is {
	case loader.KindCrossEncoder:
		m, err = vkbert.OpenReranker(ctx, f.model, options...)
	case loader.KindSparse:
		m, err = vkbert.OpenSparse(ctx, f.model, options...)
	case loader.KindMultiVector:
		m, err = vkbert.OpenMultiVector(ctx, f.model, options...)
	default:
		m, err = vkbert.Open(ctx, f.model, options...)
	}
	return m, string(is), err
}

func infoCommand() *cobra.Command {
	var model modelFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "info -m MODEL",
		Short:   "Show what a model is and what memory it takes",
		Example: `  vkbert info -m sentence-transformers/all-MiniLM-L6-v2 --device cpu`,
		Args:    cobra.NoArgs,
	}
	cmd.RunE = run(func(cmd *cobra.Command, _ []string) (err error) {
		m, kind, err := model.openAny(cmd)
		if err != nil {
			return err
		}
		defer closeModel(cmd.Context(), m, &err)
		report := reportModel(m.Info())
		report.Kind = kind
		if asJSON {
			return printJSON(cmd.OutOrStdout(), report, true)
		}
		return report.print(cmd.OutOrStdout())
	})
	model.addModel(cmd)
	model.addDevice(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
