package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/vkbert/vkbert"
)

//go:embed make_golden.py
var goldenScript string

// golden is what a reference made of texts, or of ids alone.
type golden struct {
	Texts   []string    `json:"texts"`
	IDs     [][]int32   `json:"ids"`
	Vectors [][]float32 `json:"vectors"`
}

// goldenSet is a part of a golden file and the way to make it again.
type goldenSet struct {
	name string
	golden
	tokenize func(i int) (vkbert.Tokens, error) // nil where the ids are given
	embed    func(ctx context.Context) ([][]float32, error)
}

// embedding is a set of texts of an embedding model.
func embedding(name string, g golden, m *vkbert.Model, prompt promptFlags) goldenSet {
	embed, tokenize := prompt.embed(m), prompt.tokenize(m)
	return goldenSet{
		name, g, func(i int) (vkbert.Tokens, error) { return tokenize(g.Texts[i]) },
		func(ctx context.Context) ([][]float32, error) { return embed(ctx, g.Texts) },
	}
}

// readEmbedding reads a golden file of an embedding model: "texts", "ids" and "vectors", and where they are there "raw" (ids without texts) and the same texts with
// a prompt under "query", "document" and "prompt:NAME". Other keys are for readers.
func readEmbedding(keys map[string]json.RawMessage, first golden, m *vkbert.Model) ([]goldenSet, error) {
	sets := []goldenSet{embedding("texts", first, m, promptFlags{})}
	for key, raw := range keys {
		name, named := strings.CutPrefix(key, "prompt:")
		prompt := promptFlags{query: key == "query", document: key == "document"}
		if named {
			prompt.name = name
		}
		if key != "raw" && prompt == (promptFlags{}) {
			continue
		}
		g := golden{Texts: first.Texts}
		if err := json.Unmarshal(raw, &g); err != nil {
			return nil, fmt.Errorf("%q: %w", key, err)
		}
		set := embedding(key, g, m, prompt)
		if key == "raw" {
			set.Texts, set.tokenize = nil, nil
			set.embed = func(ctx context.Context) ([][]float32, error) { return m.EmbedTokens(ctx, g.IDs) }
		}
		sets = append(sets, set)
	}
	for _, s := range sets {
		if err := s.check(m.Dimensions()); err != nil {
			return nil, fmt.Errorf("%q: %w", s.name, err)
		}
	}
	return sets, nil
}

// check looks for what is missing; dimensions is 0 where vectors have lengths of their own.
func (s *goldenSet) check(dimensions int) error {
	n := len(s.IDs)
	if s.tokenize != nil {
		n = len(s.Texts)
	}
	if n == 0 || len(s.IDs) != n || len(s.Vectors) != n {
		return fmt.Errorf("%d texts, %d ids and %d vectors: want as many of each, and some", n, len(s.IDs), len(s.Vectors))
	}
	for i, v := range s.Vectors {
		if len(v) != dimensions && dimensions > 0 {
			return fmt.Errorf("vector %d has %d dimensions, the model has %d", i, len(v), dimensions)
		}
	}
	return nil
}

// comparison is what came out for a set.
type comparison struct {
	otherIDs   []int   // texts with other ids than the golden ones
	difference float64 // the greatest of a component
	cosine     float64 // the least
	worst      int     // the text that is furthest over its tolerance
	excess     float64 // its difference by its tolerance
}

// compare embeds the texts again. The tolerance of a text is the given one, times the largest component of its vector where that is over 1.
func (s *goldenSet) compare(ctx context.Context, tolerance float64) (comparison, error) {
	c := comparison{cosine: 1}
	for i := range s.Texts {
		if s.tokenize == nil {
			break
		}
		tokens, err := s.tokenize(i)
		if err != nil {
			return c, fmt.Errorf("text %d: %w", i, err)
		}
		if !slices.Equal(tokens.IDs, s.IDs[i]) {
			c.otherIDs = append(c.otherIDs, i)
		}
	}
	vectors, err := s.embed(ctx)
	if err != nil {
		return c, err
	}
	if len(vectors) != len(s.Vectors) {
		return c, fmt.Errorf("got %d vectors, want %d", len(vectors), len(s.Vectors))
	}
	for i, want := range s.Vectors {
		if len(vectors[i]) != len(want) {
			return c, fmt.Errorf("%s: got %d values, want %d", s.describe(i), len(vectors[i]), len(want))
		}
		difference, largest := 0.0, 1.0
		for j, x := range want {
			difference = max(difference, math.Abs(float64(vectors[i][j])-float64(x)))
			largest = max(largest, math.Abs(float64(x)))
		}
		c.difference = max(c.difference, difference)
		if difference > 0 { // two vectors of zeros have none
			c.cosine = min(c.cosine, float64(vkbert.Cosine(vectors[i], want)))
		}
		if excess := difference / (tolerance * largest); i == 0 || !(excess <= c.excess) {
			c.worst, c.excess = i, excess
		}
	}
	return c, nil
}

// fault is why a set is not verified; nil if it is.
func (s *goldenSet) fault(c comparison, tolerance float64) error {
	switch {
	case len(c.otherIDs) > 0:
		return fmt.Errorf("%s: %d of %d have other token ids, the first is %s", s.name, len(c.otherIDs), len(s.IDs), s.describe(c.otherIDs[0]))
	case !(c.excess <= 1):
		return fmt.Errorf("%s: off by %.3g times the tolerance of %g, the worst is %s", s.name, c.excess, tolerance, s.describe(c.worst))
	}
	return nil
}

// describe names a text.
func (s *goldenSet) describe(i int) string {
	if s.tokenize == nil {
		return fmt.Sprintf("number %d, of %d ids", i, len(s.IDs[i]))
	}
	const most = 40
	text := []rune(s.Texts[i])
	if len(text) > most {
		text = append(text[:most:most], '…')
	}
	return fmt.Sprintf("text %d, %s", i, strconv.QuoteToGraphic(string(text)))
}

func verifyCommand() *cobra.Command {
	var model modelFlags
	var tolerance float64
	var makeGolden bool
	cmd := &cobra.Command{
		Use:   "verify -m MODEL GOLDEN.json  |  verify --make-golden",
		Short: "Compare with vectors that sentence-transformers made",
		Long: `Compare token ids and vectors with those of a golden file, {"texts":[…],"ids":[[…]],"vectors":[[…]]}, and fail if ids differ or a component is
off by more than the tolerance (times the largest component of the vector, where that is over 1). Optional keys: "raw" {ids, vectors}; and
"query", "document", "prompt:NAME" {ids, vectors} for the same texts with a prompt. A reranker's file has {"pairs","ids","scores","logits"}, one of a sparse model
{"texts","ids","sparse"}, one of a multi-vector model {"texts","query":{ids, vectors},"document":{ids, vectors}}.

With --make-golden it prints a Python script that makes such a file for any model with sentence-transformers.`,
		Example: `  vkbert verify --make-golden > make_golden.py
  python make_golden.py BAAI/bge-small-en-v1.5 golden.json
  vkbert verify -m BAAI/bge-small-en-v1.5 golden.json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if makeGolden {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
	}
	cmd.RunE = run(func(cmd *cobra.Command, args []string) (err error) {
		if makeGolden {
			_, err := fmt.Fprint(cmd.OutOrStdout(), goldenScript)
			return err
		}
		if !(tolerance > 0) {
			return usagef("--tolerance %g: want more than 0", tolerance)
		}
		file, err := readGolden(args[0])
		if err != nil {
			return err
		}
		sets, m, err := file.open(cmd, &model)
		if err != nil {
			return err
		}
		defer closeModel(cmd.Context(), m, &err)
		info := m.Info()
		table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintf(table, "%s on %s, %s\n", info.Name, info.Device.Name, info.DType)
		fmt.Fprintln(table, "set\tnumber\tids\tmax |Δ|\tmin cosine\tworst")
		var first error
		number := 0
		for i := range sets {
			s := &sets[i]
			c, err := s.compare(cmd.Context(), tolerance)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			ids := "equal"
			if n := len(c.otherIDs); n > 0 {
				ids = fmt.Sprintf("%d differ", n)
			}
			fmt.Fprintf(table, "%s\t%d\t%s\t%.2g\t%.8f\t%s\n", s.name, len(s.IDs), ids, c.difference, c.cosine, s.describe(c.worst))
			number += len(s.IDs)
			if err := s.fault(c, tolerance); err != nil && first == nil {
				first = fmt.Errorf("%s: %w", args[0], err)
			}
		}
		if first == nil {
			fmt.Fprintf(table, "verified: %d vectors within %g\n", number, tolerance)
		}
		if err := table.Flush(); err != nil {
			return err
		}
		return first
	})
	model.addOptionalModel(cmd)
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if makeGolden == (model.model != "") {
			return usagef(`want one of "model" and "make-golden"; required flag(s) "model" not set, or both are`)
		}
		return nil
	}
	model.addDevice(cmd)
	cmd.Flags().BoolVar(&makeGolden, "make-golden", false, "print a Python script that makes a golden file")
	cmd.Flags().Float64Var(&tolerance, "tolerance", 1e-5, "the most that a component may be off")
	return cmd
}
