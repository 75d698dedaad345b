package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vkbert/vkbert"
)

// similarities are the functions that a model may ask for in config_sentence_transformers.json. More is more similar: distances are negative, as in
// sentence_transformers.util.
var similarities = map[string]func(a, b []float32) float64{
	"cosine": func(a, b []float32) float64 { return float64(vkbert.Cosine(a, b)) },
	"dot":    func(a, b []float32) float64 { return float64(vkbert.Dot(a, b)) },
	"euclidean": func(a, b []float32) float64 {
		return -distance(a, b, func(d float64) float64 { return d * d }, math.Sqrt)
	},
	"manhattan": func(a, b []float32) float64 {
		return -distance(a, b, math.Abs, func(sum float64) float64 { return sum })
	},
}

func distance(a, b []float32, each, whole func(float64) float64) float64 {
	sum := 0.0
	for i := range a {
		sum += each(float64(a[i]) - float64(b[i]))
	}
	return whole(sum)
}

// scored is a text with its score.
type scored struct {
	Index int     `json:"index"` // among the texts
	Score float32 `json:"score"`
	Text  string  `json:"text"`
}

func similarityCommand() *cobra.Command {
	var model modelFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "similarity -m MODEL QUERY TEXT...",
		Short: "Rank texts by their similarity to a query",
		Long: `Rank texts by their similarity to a query: a score and a text a line, best first. The score is the cosine, or what the model asks for (dot;
euclidean and manhattan as negative distances). The model's prompts for queries and documents are used, if it has them.`,
		Example: `  vkbert similarity -m MODEL "how to keep bread fresh" "store it in a paper bag" "the bakery opens at six"`,
		Args:    cobra.MinimumNArgs(2),
	}
	cmd.RunE = run(func(cmd *cobra.Command, args []string) (err error) {
		m, err := model.openTexts(cmd)
		if err != nil {
			return err
		}
		defer closeModel(cmd.Context(), m, &err)
		name := m.Info().Similarity
		score, ok := similarities[name]
		if !ok {
			return fmt.Errorf("the model asks for the similarity %q, which is not known", name)
		}
		query, err := m.EmbedQuery(cmd.Context(), args[0])
		if err != nil {
			return fmt.Errorf("query: %w", err)
		}
		vectors, err := m.EmbedDocuments(cmd.Context(), args[1:])
		if err != nil {
			return err
		}
		ranked := make([]scored, len(vectors))
		for i, v := range vectors {
			ranked[i] = scored{Index: i, Score: float32(score(query, v)), Text: args[1+i]}
		}
		slices.SortStableFunc(ranked, func(a, b scored) int { return cmp.Compare(b.Score, a.Score) })
		if asJSON {
			return printJSON(cmd.OutOrStdout(), ranked, true)
		}
		var lines strings.Builder
		for _, r := range ranked {
			fmt.Fprintf(&lines, "%.4f\t%s\n", r.Score, printable(r.Text))
		}
		_, err = fmt.Fprint(cmd.OutOrStdout(), lines.String())
		return err
	})
	model.addModel(cmd)
	model.addDevice(cmd)
	model.addDimensions(cmd)
	model.addTruncation(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, `print a list of {"index":…,"score":…,"text":…}`)
	return cmd
}

var controls = strings.NewReplacer("\n", `\n`, "\r", `\r`, "\t", `\t`, "\x1b", `\x1b`)

// printable keeps a text on its line.
func printable(text string) string { return controls.Replace(text) }
