package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vkbert/vkbert/index"
)

// addIndex adds the flag that says which index.
func addIndex(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "index", "", "file of the index; the default is $VKBERT_INDEX, else vkbert/index.db in the user's data folder")
	cmd.MarkFlagFilename("index") //nolint:errcheck // the flag is there
}

// indexPath is the file of the index: that of the flag or the default.
func indexPath(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	if path := os.Getenv("VKBERT_INDEX"); path != "" {
		return path, nil
	}
	var dir string
	var err error
	switch runtime.GOOS {
	case "darwin":
		dir, err = os.UserConfigDir() // ~/Library/Application Support
	case "windows":
		dir, err = os.UserCacheDir() // %LocalAppData%
	default:
		if dir = os.Getenv("XDG_DATA_HOME"); dir == "" {
			dir, err = os.UserHomeDir()
			dir = filepath.Join(dir, ".local", "share")
		}
	}
	return filepath.Join(dir, "vkbert", "index.db"), err
}

func indexCommand() *cobra.Command {
	var (
		model                    modelFlags
		path, field              string
		filter                   index.Filter
		tokens, overlap          int
		rebuild, remove, verbose bool
	)
	cmd := &cobra.Command{
		Use:   "index [-m MODEL] [DIR...]",
		Short: "Keep a semantic index of the files in folders",
		Long: `Keep a semantic index of the text, Markdown and JSON lines files in folders, for "vkbert search". A file is cut into chunks of tokens that overlap, and
every chunk gets a vector; of JSON lines, every line is a text of its own: a JSON string, or the field "text" of an object.

The first run needs -m; later ones use the model that made the index, and what --ext, --exclude and --field said of a DIR. A later run reads what is new or has
changed, and takes out what has gone; without DIR it looks again at all folders that the index has. It may be broken off at any time: what was done is kept, but
of --rebuild nothing, and "vkbert search" works meanwhile.

Names that begin with a dot are left out, and so are links and binary files. A DIR that is a file is taken whatever its name. A file that cannot be read is
named, what the index had of it stays, and the exit status is 1 when all else is done.`,
		Example: `  vkbert index -m sentence-transformers/all-MiniLM-L6-v2 ~/notes ~/papers
  vkbert index                              # again, after changes
  vkbert index --ext md,go --exclude vendor ~/src
  vkbert search "how do we rotate the keys"`,
	}
	cmd.RunE = run(func(cmd *cobra.Command, args []string) (err error) {
		file, err := indexPath(path)
		if err != nil {
			return err
		}
		if remove {
			if len(args) == 0 || rebuild {
				return usagef("--remove: want DIR..., and no --rebuild")
			}
			n, err := index.Remove(file, args...)
			if err != nil {
				return indexError(err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s removed\n", plural(n, "file"))
			return err
		}
		settings := index.Settings{Tokens: tokens, Overlap: -1}
		if cmd.Flags().Changed("overlap") {
			settings.Overlap = overlap
		}
		fresh, err := planIndex(file, &model, &settings, args, rebuild)
		if err != nil {
			return err
		}
		m, err := model.openTexts(cmd)
		if err != nil {
			return err
		}
		defer closeModel(cmd.Context(), m, &err)
		work := func(u index.Update) (_ index.Report, err error) {
			var x *index.Index
			switch {
			case fresh:
				x, err = index.Create(cmd.Context(), file, m, settings)
			case rebuild:
				return index.Rebuild(cmd.Context(), file, m, settings, u)
			default:
				x, err = index.Open(cmd.Context(), file, m)
			}
			if err != nil {
				return index.Report{}, err
			}
			return x.Update(cmd.Context(), u)
		}
		update := index.Update{Roots: args, Field: field, Record: parseJSONField}
		if cmd.Flags().Changed("ext") || cmd.Flags().Changed("exclude") {
			update.Filter = &filter // of which a flag that was not given is nil
		}
		return updateIndex(cmd, work, update, verbose)
	})
	model.addOptionalModel(cmd)
	model.addDevice(cmd)
	addIndex(cmd, &path)
	flags := cmd.Flags()
	flags.StringSliceVar(&filter.Extensions, "ext", nil, "take files whose names end so, with or without the dot, or are called so (default "+strings.Join(index.Extensions, ",")+")")
	flags.StringSliceVar(&filter.Exclude, "exclude", nil, `leave out names, or paths below DIR, that match (as "draft*" or "old/*.md")`)
	flags.StringVar(&field, "field", "", fmt.Sprintf("of JSON lines: the name of the text in an object (default %q)", index.DefaultField))
	flags.IntVar(&tokens, "chunk-tokens", 0, fmt.Sprintf("tokens of a chunk; 0 is %d, or what the model takes", index.DefaultTokens))
	flags.IntVar(&overlap, "overlap", 0, "tokens that a chunk shares with the one before; the default is an eighth of --chunk-tokens")
	flags.BoolVar(&rebuild, "rebuild", false, "make the index anew, with another model or other chunks; the old one stays until that is done")
	flags.BoolVar(&remove, "remove", false, "take DIR out of the index, which need not be there any more")
	flags.BoolVarP(&verbose, "verbose", "v", false, "name each file that is added, updated or removed")
	return cmd
}

// planIndex checks what is asked for against the index that there is, before a model is opened: whether there is none yet, and with which model to make it.
func planIndex(file string, model *modelFlags, settings *index.Settings, dirs []string, rebuild bool) (fresh bool, err error) {
	meta, err := index.ReadMeta(file)
	fresh = errors.Is(err, index.ErrNoIndex)
	if err != nil && !fresh && !(rebuild && errors.Is(err, index.ErrDamaged)) {
		return false, indexError(err)
	}
	if model.model == "" {
		model.model = meta.Model
	}
	switch {
	case (fresh || rebuild) && (model.model == "" || len(dirs) == 0):
		return false, usagef("%s is to be made: want -m MODEL and DIR", file)
	case fresh || rebuild:
	case settings.Tokens != 0 && settings.Tokens != meta.Tokens, settings.Overlap >= 0 && settings.Overlap != meta.Overlap:
		return false, fmt.Errorf("%s has chunks of %d tokens that share %d; --rebuild makes it anew", file, meta.Tokens, meta.Overlap)
	}
	settings.Model = storedModel(model.model)
	for _, dir := range dirs {
		if _, err := os.Stat(dir); err != nil {
			return false, err
		}
	}
	return fresh, nil
}

// storedModel is what a model is called in an index, so that it is found from another folder too.
func storedModel(model string) string {
	if _, err := os.Stat(model); err == nil {
		if abs, err := filepath.Abs(model); err == nil {
			return abs
		}
	}
	return model
}

// updateIndex runs an update by work, with a progress bar, and prints what it did.
func updateIndex(cmd *cobra.Command, work func(index.Update) (index.Report, error), update index.Update, verbose bool) error {
	bar := (*progress)(nil)
	update.Progress = func(done, total int64, _, _ int) {
		if bar == nil {
			bar = newProgress(cmd, total, true, "indexing")
		}
		bar.set(min(done, total))
	}
	var changes []string
	update.Changed = func(path string, change index.Change) {
		if verbose {
			changes = append(changes, fmt.Sprintf("%s\t%s\n", change, printable(shortPath(path))))
		}
	}
	report, err := work(update)
	bar.end()
	if err != nil {
		if done := report.Added + report.Updated; done > 0 && cmd.Context().Err() == nil {
			err = fmt.Errorf("%w (%s done before; the next run goes on)", err, plural(done, "file"))
		}
		return indexError(err)
	}
	for _, p := range report.Left {
		if verbose {
			fmt.Fprintf(cmd.ErrOrStderr(), "vkbert: left out: %s: %v\n", printable(shortPath(p.Path)), p.Err)
		}
	}
	for _, p := range report.Problems {
		fmt.Fprintf(cmd.ErrOrStderr(), "vkbert: %s: %s\n", printable(shortPath(p.Path)), oneLine(p.Err.Error()))
	}
	out := cmd.OutOrStdout()
	_, err = fmt.Fprintf(out, "%s%s: %s (%d added, %d updated, %d removed, %d unchanged%s)\n", strings.Join(changes, ""), plural(report.Files, "file"),
		plural(report.Chunks, "chunk"), report.Added, report.Updated, report.Removed, report.Unchanged, leftOut(report))
	if err == nil && len(report.Problems) > 0 {
		err = fmt.Errorf("%s could not be read; all else is in the index", plural(len(report.Problems), "file or folder"))
	}
	return err
}

// leftOut says how many files have no text.
func leftOut(r index.Report) string {
	if len(r.Left) == 0 {
		return ""
	}
	return fmt.Sprintf(", %d left out as binary", len(r.Left))
}

// plural is "1 file", "2 files".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if first, rest, ok := strings.Cut(what, " or "); ok {
		return fmt.Sprintf("%d %ss or %ss", n, first, rest)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// indexError says what to do about an error of an index.
func indexError(err error) error {
	switch {
	case errors.Is(err, index.ErrNoIndex):
		return fmt.Errorf(`%w; "vkbert index -m MODEL DIR" makes one`, err)
	case errors.Is(err, index.ErrModel):
		return fmt.Errorf("%w; leave out -m, or make it anew with vkbert index --rebuild", err)
	case errors.Is(err, index.ErrDamaged):
		return fmt.Errorf("%w; vkbert index --rebuild -m MODEL DIR makes it anew", err)
	case errors.Is(err, index.ErrNotIndex):
		return fmt.Errorf("%w; --index names another file", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("index: %w", err)
	}
	return err
}
