package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

func embedCommand() *cobra.Command {
	var (
		model  modelFlags
		prompt promptFlags
		input  inputFlags
		path   string
		format = newChoice("jsonl", "npy", "csv")
	)
	cmd := &cobra.Command{
		Use:   "embed -m MODEL [TEXT...]",
		Short: "Turn texts into vectors",
		Long: `Turn texts into vectors. The texts are the arguments, or the lines of --input or of standard input; an empty line is a text too.

The formats are jsonl, {"index":0,"embedding":[…]} a line; npy, a NumPy matrix of float32; and csv, numbers alone; all with a row a text,
in the order of the input. A file gets its name when it is complete.`,
		Example: `  vkbert embed -m sentence-transformers/all-MiniLM-L6-v2 "one text" "another"
  vkbert embed -m MODEL --input texts.txt --format npy -o vectors.npy`,
	}
	cmd.RunE = run(func(cmd *cobra.Command, args []string) (err error) {
		if format.value == "npy" && (path == "" || path == "-") && isTerminal(cmd.OutOrStdout()) {
			return usagef("--format npy is binary and standard output is a terminal; use -o FILE")
		}
		t, err := input.open(cmd, args)
		if err != nil {
			return err
		}
		defer t.Close()
		out, err := openOutput(cmd, path)
		if err != nil {
			return err
		}
		defer out.discard()
		m, err := model.openTexts(cmd)
		if err != nil {
			return err
		}
		defer closeModel(cmd.Context(), m, &err)
		w, err := newVectorWriter(format.value, out, m.Dimensions(), t.count)
		if err != nil {
			return err
		}
		if err := embedTo(cmd, t, prompt.embed(m), w); err != nil {
			return err
		}
		return out.commit()
	})
	model.addModel(cmd)
	model.addDevice(cmd)
	model.addDimensions(cmd)
	model.addTruncation(cmd)
	prompt.add(cmd)
	input.add(cmd)
	format.add(cmd, "format", "of the vectors")
	cmd.Flags().StringVarP(&path, "output", "o", "", `write the vectors to a file; "-", and the default, is standard output`)
	return cmd
}

// embedTo embeds the texts and writes the vectors, with a progress bar.
func embedTo(cmd *cobra.Command, t *texts, embed embedFunc, w vectorWriter) error {
	bar := (*progress)(nil)
	if t.count < 0 && !isTerminal(cmd.OutOrStdout()) {
		total := int64(-1)
		if t.size > 0 {
			total = t.size
		}
		bar = newProgress(cmd, total, t.size > 0, "embedding")
	}
	defer bar.end()
	count := 0
	err := embedAll(cmd.Context(), t.chunks(cmd.Context()), embed, func(vectors [][]float32, read int64) error {
		count += len(vectors)
		if t.size > 0 {
			bar.set(read)
		} else {
			bar.set(int64(count))
		}
		return w.write(vectors)
	})
	if err != nil {
		return err
	}
	if count == 0 {
		return fmt.Errorf("no texts in %s", t.name)
	}
	return w.close()
}

type embedFunc func(ctx context.Context, texts []string) ([][]float32, error)

// embedAll embeds chunk after chunk and hands their vectors to write, in order. Up to three chunks are under way at a time, so that the texts of one are
// tokenized while the device works on another's.
func embedAll(ctx context.Context, chunks <-chan chunk, embed embedFunc, write func(vectors [][]float32, read int64) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type work struct {
		chunk
		vectors [][]float32
		done    chan struct{}
	}
	queue := make(chan *work, 1)
	go func() {
		defer close(queue)
		for first := 0; ; {
			var c chunk
			ok := false
			select {
			case c, ok = <-chunks:
			case <-ctx.Done():
			}
			if !ok {
				return
			}
			w := &work{chunk: c, done: make(chan struct{})}
			from := first
			first += len(c.texts)
			go func() {
				defer close(w.done)
				if w.err != nil {
					return
				}
				if w.vectors, w.err = embed(ctx, w.texts); w.err != nil && from > 0 {
					w.err = fmt.Errorf("counted from text %d on: %w", from, w.err)
				}
			}()
			select {
			case queue <- w:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case w, ok := <-queue:
			if !ok {
				return ctx.Err()
			}
			select {
			case <-w.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if w.err != nil {
				return w.err
			}
			if err := write(w.vectors, w.read); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// closeModel closes a model, and joins what goes wrong to the error. It waits for work under way, but not for long once the context has ended.
func closeModel(ctx context.Context, m io.Closer, err *error) {
	closed := make(chan error, 1)
	go func() { closed <- m.Close() }()
	patience := (<-chan time.Time)(nil)
	for cancelled := ctx.Done(); ; {
		select {
		case e := <-closed:
			*err = errors.Join(*err, e)
			return
		case <-cancelled:
			patience, cancelled = time.After(time.Second), nil
		case <-patience:
			return
		}
	}
}
