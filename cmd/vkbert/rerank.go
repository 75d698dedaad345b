package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vkbert/vkbert"
)

// pairScores is a text with the scores that a cross-encoder gives it.
type pairScores struct {
	Index  int       `json:"index"` // among the texts
	Score  *float32  `json:"score,omitempty"`
	Scores []float32 `json:"scores,omitempty"` // of a model with several labels, in their order
	Labels []string  `json:"labels,omitempty"`
	Text   string    `json:"text"`
}

func rerankCommand() *cobra.Command {
	var (
		model       modelFlags
		input       inputFlags
		asJSON, raw bool
		top         int
	)
	cmd := &cobra.Command{
		Use:   "rerank -m MODEL QUERY [TEXT...]",
		Short: "Rank texts by what a cross-encoder says of each with a query",
		Long: `Rank texts by what a cross-encoder says of each with a query: a score and a text a line, best first. The texts are the arguments, or the
lines of --input or of standard input. A score is what CrossEncoder.rank gives: after the activation that the model names, a sigmoid by
default; --raw leaves the activation out. A model with several labels does not rank: its scores stand before each text, in the order of
the labels and of the texts.`,
		Example: `  vkbert rerank -m cross-encoder/ms-marco-MiniLM-L6-v2 "how to keep bread fresh" "store it in a paper bag" "the bakery opens at six"`,
		Args:    cobra.MinimumNArgs(1),
	}
	cmd.RunE = run(func(cmd *cobra.Command, args []string) (err error) {
		if top < 0 {
			return usagef("--top %d: want 0 or more", top)
		}
		texts, err := allTexts(cmd, &input, args[1:])
		if err != nil {
			return err
		}
		opts, err := model.options(cmd)
		if err != nil {
			return err
		}
		r, err := vkbert.OpenReranker(cmd.Context(), model.model, opts...)
		if err != nil {
			return err
		}
		defer closeModel(cmd.Context(), r, &err)
		pairs := make([]vkbert.Pair, len(texts))
		for i, text := range texts {
			pairs[i] = vkbert.Pair{args[0], text}
		}
		score := r.Score
		if raw {
			score = r.Logits
		}
		scores, err := score(cmd.Context(), pairs)
		if err != nil {
			return err
		}
		ranked := rank(texts, scores, r.Info().Labels)
		if top > 0 && r.Labels() == 1 {
			ranked = ranked[:min(top, len(ranked))]
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), ranked, true)
		}
		var lines strings.Builder
		for _, p := range ranked {
			if p.Score != nil {
				fmt.Fprintf(&lines, "%.4f\t", *p.Score)
			}
			for _, s := range p.Scores {
				fmt.Fprintf(&lines, "%.4f\t", s)
			}
			fmt.Fprintln(&lines, printable(p.Text))
		}
		_, err = fmt.Fprint(cmd.OutOrStdout(), lines.String())
		return err
	})
	model.addModel(cmd)
	model.addDevice(cmd)
	model.addTruncation(cmd)
	input.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, `print a list of {"index":…,"score":…,"text":…}, or with several labels "scores" and "labels"`)
	cmd.Flags().BoolVar(&raw, "raw", false, "the scores before the activation")
	cmd.Flags().IntVar(&top, "top", 0, "the best N alone; 0 is all")
	return cmd
}

// rank puts texts with one score in order, best first; with several they stay in theirs.
func rank(texts []string, scores [][]float32, labels []string) []pairScores {
	ranked := make([]pairScores, len(texts))
	for i, s := range scores {
		ranked[i] = pairScores{Index: i, Text: texts[i]}
		if len(s) == 1 {
			ranked[i].Score = &s[0]
		} else {
			ranked[i].Scores, ranked[i].Labels = s, labels
		}
	}
	if len(scores[0]) == 1 {
		slices.SortStableFunc(ranked, func(a, b pairScores) int { return cmp.Compare(*b.Score, *a.Score) })
	}
	return ranked
}

// allTexts reads all texts that the arguments or the flags name.
func allTexts(cmd *cobra.Command, input *inputFlags, args []string) ([]string, error) {
	t, err := input.open(cmd, args)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	var all []string
	for {
		text, err := t.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no texts in %s", t.name)
	}
	return all, nil
}
