package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/vkbert/vkbert"
)

// foundReport is what models prints of each.
type foundReport struct {
	Model        string `json:"model"` // for -m
	Directory    string `json:"directory"`
	Usable       bool   `json:"usable"`
	Reason       string `json:"reason,omitempty"` // why it is not
	Kind         string `json:"kind,omitempty"`
	Architecture string `json:"architecture,omitempty"`
	Dimensions   int    `json:"dimensions,omitempty"`
	MaxTokens    int    `json:"max_tokens,omitempty"`
	DType        string `json:"dtype,omitempty"`
	WeightBytes  int64  `json:"weight_bytes,omitempty"`
	Licence      string `json:"licence,omitempty"`
}

func reportFound(f vkbert.ModelInfo) foundReport {
	r := foundReport{
		Model: f.Name, Directory: f.Dir, Usable: f.Err == nil, Kind: string(f.Kind), Architecture: f.ModelType, Dimensions: f.Dim, MaxTokens: f.MaxSeqLength,
		DType: strings.ToLower(string(f.DType)), WeightBytes: f.Bytes, Licence: f.Licence,
	}
	if f.Err != nil {
		r.Reason = oneLine(f.Err.Error())
	}
	return r
}

// row tells a person about a model: what it is, or why it cannot be used.
func (r foundReport) row() string {
	if !r.Usable {
		return strings.Join([]string{shown(r.Model), "not usable: " + shown(strings.TrimPrefix(r.Reason, "vkbert: "))}, "\t")
	}
	what := []string{r.Kind, orNone(r.Architecture), fmt.Sprint(r.Dimensions), r.DType, megabytes(uint64(r.WeightBytes)), r.Licence}
	if r.Licence == "" {
		what[len(what)-1] = "-"
	}
	return shown(r.Model) + "\t" + shown(strings.Join(what, "\t"))
}

// shown leaves out what would move a terminal's cursor; names of folders may hold anything.
func shown(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && !unicode.IsPrint(r) {
			return '�'
		}
		return r
	}, s)
}

// printFound prints the usable ones as a table and then the others.
func printFound(w io.Writer, found []foundReport) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, usable := range []bool{true, false} {
		first := true
		for _, f := range found {
			if f.Usable != usable {
				continue
			}
			if first && usable {
				fmt.Fprintln(table, "MODEL\tKIND\tARCHITECTURE\tDIMENSIONS\tDTYPE\tSIZE\tLICENCE")
			}
			first = false
			fmt.Fprintln(table, f.row())
		}
		if err := table.Flush(); err != nil { // the reasons are no columns of the first
			return err
		}
	}
	return nil
}

func modelsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "models [ROOT…]",
		Short: "List the models on this machine, and why some cannot be used",
		Long: `List the models in the Hugging Face cache (HF_HUB_CACHE, HF_HOME), in that of sentence-transformers (SENTENCE_TRANSFORMERS_HOME) and below each ROOT,
four folders deep. Each is verified by its configuration, its tokenizer and the headers of its weights; no weights are read.`,
		Example: `  vkbert models
  vkbert models ./models --json`,
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
	}
	cmd.RunE = run(func(cmd *cobra.Command, roots []string) error {
		bar := newSpinner(cmd, "searching")
		defer bar.end()
		found, searchErr := vkbert.DiscoverWithProgress(cmd.Context(), func(_, entries int, _ string) { bar.set(int64(entries)) }, roots...)
		bar.end()
		reports := []foundReport{}
		for _, f := range found {
			reports = append(reports, reportFound(f))
		}
		var err error
		switch {
		case asJSON:
			err = printJSON(cmd.OutOrStdout(), reports, true)
		default:
			err = printFound(cmd.OutOrStdout(), reports)
		}
		if searchErr != nil {
			return searchErr
		}
		if err == nil && len(found) == 0 {
			fmt.Fprintln(cmd.ErrOrStderr(), "vkbert: no models found; get one with: vkbert download sentence-transformers/all-MiniLM-L6-v2")
		}
		return err
	})
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
