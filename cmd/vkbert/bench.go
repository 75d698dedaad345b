package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/vkbert/vkbert"
)

// benchReport is what bench prints.
type benchReport struct {
	Model           string  `json:"model"`
	Device          string  `json:"device"`
	DType           string  `json:"dtype"`
	Batch           int     `json:"batch"`  // texts a run
	Tokens          int     `json:"tokens"` // of a text; with --texts their mean
	Runs            int     `json:"runs"`
	MinMS           float64 `json:"min_ms"`
	MedianMS        float64 `json:"median_ms"`
	P99MS           float64 `json:"p99_ms"`
	TokensPerSecond float64 `json:"tokens_per_second"` // by the median
	TextsPerSecond  float64 `json:"texts_per_second"`
}

func (r benchReport) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s on %s, %s: %d texts of %d tokens\n%d runs: median %.3f ms, p99 %.3f ms, least %.3f ms\n%.0f tokens/s, %.0f texts/s\n",
		r.Model, r.Device, r.DType, r.Batch, r.Tokens, r.Runs, r.MedianMS, r.P99MS, r.MinMS, r.TokensPerSecond, r.TextsPerSecond)
	return err
}

// benchFlags say how often to run.
type benchFlags struct {
	model         modelFlags
	batch, tokens int
	runs          int
	seconds       float64
	input         inputFlags
	json          bool
}

func benchCommand() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench -m MODEL",
		Short: "Measure tokens and texts a second",
		Long: `Measure tokens and texts a second: of batches of random token ids, each done by the device in one piece; or with --texts of everything
from a file's texts in memory to their vectors. MODEL may also be random:minilm-l6, random:base, random:large or random:CONFIG.json,
random weights of those shapes.`,
		Example: `  vkbert bench -m random:minilm-l6 --batch 256 --tokens 128
  vkbert bench -m MODEL --texts texts.txt --json`,
		Args: cobra.NoArgs,
	}
	cmd.RunE = run(func(cmd *cobra.Command, _ []string) (err error) {
		if f.batch < 1 || f.tokens < 1 || f.runs < 0 || !(f.seconds > 0) {
			return usagef("--batch %d, --tokens %d, --runs %d, --seconds %g: want positive numbers", f.batch, f.tokens, f.runs, f.seconds)
		}
		bench := f.ids
		if f.input.path != "" {
			bench = f.texts
		}
		report, err := bench(cmd)
		if err != nil {
			return err
		}
		if f.json {
			return printJSON(cmd.OutOrStdout(), report, false)
		}
		return report.print(cmd.OutOrStdout())
	})
	f.model.addModel(cmd)
	f.model.addDevice(cmd)
	flags := cmd.Flags()
	flags.IntVar(&f.batch, "batch", 32, "texts a run")
	flags.IntVar(&f.tokens, "tokens", 128, "tokens a text")
	flags.Float64Var(&f.seconds, "seconds", 3, "how long to measure; three runs are made at least")
	flags.IntVar(&f.runs, "runs", 0, "how many runs to make instead")
	flags.StringVar(&f.input.path, "texts", "", "embed the lines of a file, end to end, instead of token ids")
	flags.BoolVar(&f.json, "json", false, "print JSON on one line")
	f.input.format = newChoice("text", "jsonl")
	f.input.format.add(cmd, "input-format", `of --texts: a text a line, or a JSON string or {"text": …} a line`)
	cmd.MarkFlagsMutuallyExclusive("seconds", "runs")
	cmd.MarkFlagsMutuallyExclusive("texts", "batch")
	cmd.MarkFlagsMutuallyExclusive("texts", "tokens")
	return cmd
}

// ids measures batches of random token ids. A run is one call, and one batch on the device unless --batch-tokens says otherwise.
func (f *benchFlags) ids(cmd *cobra.Command) (_ benchReport, err error) {
	if f.model.batchTokens == 0 {
		f.model.batchTokens = f.batch * f.tokens
	}
	m, err := f.model.open(cmd)
	if err != nil {
		return benchReport{}, err
	}
	defer closeModel(cmd.Context(), m, &err)
	info := m.Info()
	if f.tokens > info.MaxTokens {
		return benchReport{}, fmt.Errorf("--tokens %d: the model takes at most %d", f.tokens, info.MaxTokens)
	}
	random := rand.New(rand.NewPCG(1, 2))
	ids := make([][]int32, f.batch)
	for i := range ids {
		ids[i] = make([]int32, f.tokens)
		for j := range ids[i] {
			ids[i][j] = random.Int32N(int32(info.Vocabulary))
		}
	}
	times, err := f.measure(cmd.Context(), func(ctx context.Context) error {
		_, err := m.EmbedTokens(ctx, ids)
		return err
	})
	return report(info, f.batch, f.batch*f.tokens, times), err
}

// texts measures what "vkbert embed" does between reading and writing.
func (f *benchFlags) texts(cmd *cobra.Command) (_ benchReport, err error) {
	t, err := f.input.open(cmd, nil)
	if err != nil {
		return benchReport{}, err
	}
	defer t.Close()
	var chunks []chunk
	count := 0
	for c := range t.chunks(cmd.Context()) {
		if c.err != nil {
			return benchReport{}, c.err
		}
		chunks = append(chunks, c)
		count += len(c.texts)
	}
	if err := cmd.Context().Err(); err != nil {
		return benchReport{}, err
	}
	if count == 0 {
		return benchReport{}, fmt.Errorf("no texts in %s", t.name)
	}
	m, err := f.model.openTexts(cmd)
	if err != nil {
		return benchReport{}, err
	}
	defer closeModel(cmd.Context(), m, &err)
	var tokens uint64 // of the last run
	times, err := f.measure(cmd.Context(), func(ctx context.Context) error {
		before := m.Stats().Tokens
		all := make(chan chunk, len(chunks))
		for _, c := range chunks {
			all <- c
		}
		close(all)
		err := embedAll(ctx, all, m.EmbedBatch, func([][]float32, int64) error { return nil })
		tokens = m.Stats().Tokens - before
		return err
	})
	return report(m.Info(), count, int(tokens), times), err
}

const (
	warmUp    = 300 * time.Millisecond // a GPU idles at low clocks
	leastRuns = 3
)

// measure times runs, after some that do not count.
func (f *benchFlags) measure(ctx context.Context, once func(context.Context) error) ([]time.Duration, error) {
	for start := time.Now(); time.Since(start) < warmUp; {
		if err := once(ctx); err != nil {
			return nil, err
		}
	}
	limit := time.Duration(f.seconds * float64(time.Second))
	var times []time.Duration
	for begin := time.Now(); ; {
		start := time.Now()
		if err := once(ctx); err != nil {
			return nil, err
		}
		times = append(times, time.Since(start))
		enough := len(times) >= leastRuns && time.Since(begin) >= limit
		if f.runs > 0 {
			enough = len(times) >= f.runs
		}
		if enough {
			return times, nil
		}
	}
}

// report sums up the times of runs over count texts with this many tokens together.
func report(info vkbert.Info, count, tokens int, times []time.Duration) benchReport {
	if len(times) == 0 {
		return benchReport{}
	}
	slices.Sort(times)
	ms := func(d time.Duration) float64 { return float64(d) / 1e6 }
	median := (ms(times[(len(times)-1)/2]) + ms(times[len(times)/2])) / 2
	return benchReport{
		Model: info.Name, Device: info.Device.Name, DType: info.DType, Batch: count, Tokens: int(math.Round(float64(tokens) / float64(count))),
		Runs: len(times), MinMS: ms(times[0]), MedianMS: median, P99MS: ms(times[int(math.Ceil(0.99*float64(len(times))))-1]),
		TokensPerSecond: float64(tokens) / median * 1e3, TextsPerSecond: float64(count) / median * 1e3,
	}
}
