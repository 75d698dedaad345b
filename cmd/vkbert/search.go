package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/vkbert/vkbert/index"
)

func searchCommand() *cobra.Command {
	var (
		model    modelFlags
		path     string
		asJSON   bool
		top      int
		minScore float64
		in       []string
	)
	cmd := &cobra.Command{
		Use:   "search QUERY",
		Short: `Search the files that "vkbert index" has read`,
		Long: `Search the files that "vkbert index" has read, by meaning: the parts most similar to the query, best first. A line is a score, the file with the first and the
last line of the part, and how it begins, with tabs between; on a terminal a part has two lines more. A file that has changed since is marked: run
"vkbert index" again.

The model is the one that made the index; -m says where it is now, if it was moved. Several words are one query, with or without quotes.`,
		Example: `  vkbert search "how do we rotate the keys"
  vkbert search --in ~/notes --top 3 --json key rotation`,
		Args: cobra.MinimumNArgs(1),
	}
	cmd.RunE = run(func(cmd *cobra.Command, args []string) (err error) {
		if top < 0 {
			return usagef("--top %d: want 0 or more", top)
		}
		text := strings.Join(args, " ")
		if strings.TrimSpace(text) == "" {
			return usagef("the query is empty")
		}
		file, err := indexPath(path)
		if err != nil {
			return err
		}
		meta, err := index.ReadMeta(file)
		if err != nil {
			return indexError(err)
		}
		if model.model == "" {
			model.model = meta.Model
		}
		m, err := model.openTexts(cmd)
		if err != nil {
			return err
		}
		defer closeModel(cmd.Context(), m, &err)
		score, ok := similarities[m.Info().Similarity]
		if !ok {
			return fmt.Errorf("the model asks for the similarity %q, which is not known", m.Info().Similarity)
		}
		x, err := index.Open(cmd.Context(), file, m)
		if err != nil {
			return indexError(err)
		}
		results, err := x.Search(cmd.Context(), index.Query{Text: text, Top: top, MinScore: minScore, HasMin: cmd.Flags().Changed("min-score"), Below: in, Score: score})
		if err != nil {
			return indexError(err)
		}
		if len(results) == 0 && len(in) == 0 && !cmd.Flags().Changed("min-score") {
			return fmt.Errorf(`%s holds no text yet; "vkbert index DIR" adds some`, file)
		}
		if len(results) == 0 && len(in) > 0 && !cmd.Flags().Changed("min-score") {
			return fmt.Errorf("%s holds no text below %s", file, strings.Join(in, " or "))
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), append([]index.Result{}, results...), true)
		}
		return printResults(cmd.OutOrStdout(), results)
	})
	model.addOptionalModel(cmd)
	model.addDevice(cmd)
	addIndex(cmd, &path)
	flags := cmd.Flags()
	flags.IntVarP(&top, "top", "n", 10, "results at most; 0 is all")
	flags.Float64Var(&minScore, "min-score", 0, "leave out results below this score; the default leaves out none")
	flags.StringArrayVar(&in, "in", nil, "search a folder or file of the index alone; may be given again")
	flags.BoolVar(&asJSON, "json", false, `print a list of {"file":…,"score":…,"text":…,"start":…,"end":…,"first_line":…,"last_line":…}; start and end in bytes, lines from 1`)
	cmd.MarkFlagDirname("in") //nolint:errcheck // the flag is there
	return cmd
}

// snippetRunes is how much of a text a line of results shows.
const snippetRunes = 160

// printResults prints a line a result; on a terminal, a line and as much of the text as fits into two more.
func printResults(w io.Writer, results []index.Result) error {
	width := terminalWidth(w)
	var b strings.Builder
	for i, r := range results {
		place := fmt.Sprintf("%s:%d", printable(shortPath(r.File)), r.FirstLine)
		if r.LastLine > r.FirstLine {
			place += fmt.Sprintf("-%d", r.LastLine)
		}
		if r.Changed {
			place += " (changed since)"
		}
		if width == 0 {
			fmt.Fprintf(&b, "%.4f\t%s\t%s\n", r.Score, place, snippet(r.Text, snippetRunes))
			continue
		}
		if i > 0 {
			fmt.Fprintln(&b)
		}
		line := "%.4f  %s\n"
		if os.Getenv("NO_COLOR") == "" {
			line = "\x1b[2m%.4f\x1b[0m  \x1b[1m%s\x1b[0m\n"
		}
		fmt.Fprintf(&b, line, r.Score, place)
		for _, line := range wrap(snippet(r.Text, 2*(width-8)), width-8, 2) {
			fmt.Fprintf(&b, "        %s\n", line)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// snippet is the beginning of a text on one line, without control characters.
func snippet(text string, runes int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 { // and what turns the line around
			return ' '
		}
		return r
	}, text)
	all := []rune(strings.Join(strings.Fields(text), " "))
	if len(all) <= runes {
		return string(all)
	}
	return strings.TrimRight(string(all[:runes-1]), " ") + "…"
}

// wrap breaks a text into lines between words, and returns the first of them.
func wrap(text string, width, most int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)[:min(most, len(lines)+1)]
}

// terminalWidth is how many characters a line of the terminal has; 0 for what is none.
func terminalWidth(w io.Writer) int {
	if !isTerminal(w) {
		return 0
	}
	if r, ok := w.(results); ok {
		w = r.Writer
	}
	width, _, err := term.GetSize(int(w.(*os.File).Fd()))
	if err != nil || width < 40 {
		return 40
	}
	return min(width, 120)
}

// shortPath is a path as seen from the working directory, where it lies below that.
func shortPath(path string) string {
	dir, err := os.Getwd()
	if err != nil {
		return path
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	short, err := filepath.Rel(dir, path)
	if err != nil || short == ".." || strings.HasPrefix(short, ".."+string(filepath.Separator)) {
		return path
	}
	return short
}
