package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
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
	Tokens          int     `json:"tokens"` // of a text; their mean where they differ
	Callers         int     `json:"callers"`
	PerCall         int     `json:"per_call"` // texts
	Runs            int     `json:"runs"`
	MinMS           float64 `json:"min_ms"`
	MedianMS        float64 `json:"median_ms"`
	P99MS           float64 `json:"p99_ms"`
	CallMedianMS    float64 `json:"call_median_ms"`
	CallP99MS       float64 `json:"call_p99_ms"`
	Beside          int     `json:"beside"`            // texts of the call that was under way all the time
	CallP99Budgets  float64 `json:"call_p99_budgets"`  // in times that the device takes for as many tokens as a batch is filled up to
	TokensPerSecond float64 `json:"tokens_per_second"` // by the median
	TextsPerSecond  float64 `json:"texts_per_second"`

	Parts benchParts `json:"parts"`
}

// benchParts say where the time went: means of a run, in milliseconds. The parts overlap, and goroutines and batches that work side by side add up.
type benchParts struct {
	Tokenize  float64 `json:"tokenize_ms"`  // texts into token ids, over all goroutines
	Queue     float64 `json:"queue_ms"`     // from handing in to the start of the batch, the mean of a hand-in
	Pack      float64 `json:"pack_ms"`      // sequences into batches
	Compute   float64 `json:"compute_ms"`   // the device had work: upload, kernels, read-back
	ReadBack  float64 `json:"read_back_ms"` // copying vectors out
	Idle      float64 `json:"idle_ms"`      // the device had none
	Batches   float64 `json:"batches"`
	BatchSize int     `json:"batch_tokens"` // that a batch is filled up to
}

// parts is what the runs between two states of a model's counters took, of this duration together.
func parts(before, after vkbert.Stats, runs int, total time.Duration) benchParts {
	each := func(d time.Duration) float64 { return milliseconds(d) / float64(runs) }
	busy := after.Busy - before.Busy
	return benchParts{
		Tokenize: each(after.Tokenizing - before.Tokenizing), Queue: milliseconds(after.Queued-before.Queued) / float64(max(1, after.HandIns-before.HandIns)),
		Pack: each(after.Packing - before.Packing), Compute: each(busy), ReadBack: each(after.Delivering - before.Delivering), Idle: max(0, each(total-busy)),
		Batches: float64(after.Batches-before.Batches) / float64(runs), BatchSize: after.BatchTokens,
	}
}

func (r benchReport) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s on %s, %s: %d texts of %d tokens\n%d runs: median %.3f ms, p99 %.3f ms, least %.3f ms\n%.0f tokens/s, %.0f texts/s\n",
		r.Model, r.Device, r.DType, r.Batch, r.Tokens, r.Runs, r.MedianMS, r.P99MS, r.MinMS, r.TokensPerSecond, r.TextsPerSecond)
	if err == nil {
		p := r.Parts
		_, err = fmt.Fprintf(w, "a run: device at work %.3f ms, idle %.3f ms; tokenizing %.3f ms, packing %.3f ms, copying vectors out %.3f ms over all goroutines; %.3f ms in the queue; %.1f batches of up to %d tokens\n",
			p.Compute, p.Idle, p.Tokenize, p.Pack, p.ReadBack, p.Queue, p.Batches, p.BatchSize)
	}
	if err == nil && r.PerCall < r.Batch {
		_, err = fmt.Fprintf(w, "%d callers, %d texts a call: median %.3f ms, p99 %.3f ms a call\n", r.Callers, r.PerCall, r.CallMedianMS, r.CallP99MS)
	}
	if err == nil && r.Beside > 0 {
		_, err = fmt.Fprintf(w, "beside a call of %d texts, which is part of a run's device, packing and batches: p99 %.2f budgets a call\n", r.Beside, r.CallP99Budgets)
	}
	return err
}

// benchFlags say what to run, and how often.
type benchFlags struct {
	model            modelFlags
	batch, tokens    int
	lengths          string
	limit            int
	callers, perCall int
	beside           int
	runs             int
	seconds          float64
	interval         time.Duration
	input            inputFlags
	json             bool
}

func benchCommand() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench -m MODEL",
		Short: "Measure tokens and texts a second",
		Long: `Measure tokens and texts a second: of batches of random token ids, each done by the device in one piece; with --lengths of random token ids
of the lengths that a file lists; or with --texts of everything from a file's texts in memory to their vectors. A run embeds all of them: in one
call, or with --per-call in calls of so many texts, in order, that --callers goroutines make at the same time. With --beside a call of that many
texts, the same ones in turn, is under way meanwhile, and what a call takes is also told in budgets, times of a full batch. MODEL may also be
random:minilm-l6, random:base, random:large or random:CONFIG.json, random weights of those shapes.`,
		Example: `  vkbert bench -m random:minilm-l6 --batch 256 --tokens 128
  vkbert bench -m random:minilm-l6 --lengths lengths.txt --callers 64 --per-call 32
  vkbert bench -m MODEL --texts texts.txt --json`,
		Args: cobra.NoArgs,
	}
	cmd.RunE = run(func(cmd *cobra.Command, _ []string) (err error) {
		if err := f.check(); err != nil {
			return err
		}
		report, err := f.bench(cmd)
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
	flags.StringVar(&f.lengths, "lengths", "", "take the number of tokens of each text from the lines of a file")
	flags.IntVar(&f.limit, "limit", 0, "of --texts or --lengths take the first N lines; 0 takes all")
	flags.IntVar(&f.perCall, "per-call", 0, "texts a call; 0 embeds all in one")
	flags.IntVar(&f.callers, "callers", 1, "goroutines that make calls at the same time")
	flags.IntVar(&f.beside, "beside", 0, "texts of a call that is under way all the time, begun again when it ends")
	flags.Float64Var(&f.seconds, "seconds", 3, "how long to measure; three runs are made at least")
	flags.DurationVar(&f.interval, "interval", 0, "how long to rest before each run, as a service does between queries")
	flags.IntVar(&f.runs, "runs", 0, "how many runs to make instead")
	flags.StringVar(&f.input.path, "texts", "", "embed the lines of a file, end to end, instead of token ids")
	flags.BoolVar(&f.json, "json", false, "print JSON on one line")
	f.input.format = newChoice("text", "jsonl")
	f.input.format.add(cmd, "input-format", `of --texts: a text a line, or a JSON string or {"text": …} a line`)
	cmd.MarkFlagsMutuallyExclusive("seconds", "runs")
	cmd.MarkFlagFilename("texts")   //nolint:errcheck // the flag is there
	cmd.MarkFlagFilename("lengths") //nolint:errcheck // the flag is there
	cmd.MarkFlagsMutuallyExclusive("texts", "lengths", "batch")
	cmd.MarkFlagsMutuallyExclusive("texts", "lengths", "tokens")
	return cmd
}

// bench opens the model and measures its load.
func (f *benchFlags) bench(cmd *cobra.Command) (_ benchReport, err error) {
	var work load
	open := f.model.open
	switch {
	case f.input.path != "":
		work, err = f.textLoad(cmd)
		open = f.model.openTexts
	case f.lengths != "":
		work, err = f.lengthLoad(cmd)
	default:
		work = idLoad(slices.Repeat([]int{f.tokens}, f.batch))
		if f.model.batchTokens == 0 && f.perCall == 0 {
			f.model.batchTokens = f.batch * f.tokens // one batch on the device
		}
	}
	if err != nil {
		return benchReport{}, err
	}
	m, err := open(cmd)
	if err != nil {
		return benchReport{}, err
	}
	defer closeModel(cmd.Context(), m, &err)
	info := m.Info()
	from, most := "--tokens", info.MaxTokens
	if f.lengths != "" { // lists of ids may be as long as there are positions
		from, most = "--lengths "+f.lengths+":", max(info.MaxTokens, info.MaxBatchTokens)
	}
	if work.longest > most { // before its ids are made
		return benchReport{}, fmt.Errorf("%s %d: the model takes at most %d", from, work.longest, most)
	}
	perCall := min(f.perCall, work.count)
	if perCall == 0 {
		perCall = work.count
	}
	var tokens uint64 // of a run
	var calls []time.Duration
	var start vkbert.Stats
	stop := func() error { return nil }
	times, err := f.measure(cmd.Context(), func(ctx context.Context) (time.Duration, error) {
		before := m.Stats().Tokens
		took, once, err := work.run(ctx, m, f.callers, perCall)
		if start.Batches == 0 || f.beside == 0 { // else it is not the only one
			tokens = m.Stats().Tokens - before
		}
		calls = append(calls, once...)
		return took, err
	}, func() {
		if f.beside > 0 {
			stop = work.repeated(f.beside).keepBusy(cmd.Context(), m)
		}
		calls, start = nil, m.Stats()
	})
	end := m.Stats()
	if err := errors.Join(err, stop()); err != nil {
		return benchReport{}, err
	}
	var total time.Duration
	for _, t := range times {
		total += t
	}
	r := report(info, work.count, int(tokens), times)
	r.Parts = parts(start, end, len(times), total)
	r.Callers, r.PerCall, r.Beside = f.callers, perCall, f.beside
	r.CallMedianMS, r.CallP99MS = median(calls), percentile(calls, 0.99)
	if f.beside > 0 {
		each := milliseconds(end.Busy-start.Busy) / float64(end.Tokens-start.Tokens)
		r.CallP99Budgets = r.CallP99MS / (each * float64(end.BatchTokens))
	}
	return r, err
}

const (
	maxTexts  = 1 << 24                // of a run, a call and a call beside them: their ids take gigabytes
	warmUp    = 300 * time.Millisecond // a GPU idles at low clocks
	leastRuns = 3
)

// measure times runs, after some that do not count; warm is called between.
func (f *benchFlags) measure(ctx context.Context, once func(context.Context) (time.Duration, error), warm func()) ([]time.Duration, error) {
	for start := time.Now(); time.Since(start) < warmUp; {
		if _, err := once(ctx); err != nil {
			return nil, err
		}
	}
	warm()
	limit := time.Duration(f.seconds * float64(time.Second))
	var times []time.Duration
	for begin := time.Now(); ; {
		time.Sleep(f.interval)
		took, err := once(ctx)
		if err != nil {
			return nil, err
		}
		times = append(times, took)
		enough := len(times) >= leastRuns && time.Since(begin) >= limit
		if f.runs > 0 {
			enough = len(times) >= f.runs
		}
		if enough {
			return times, nil
		}
	}
}

func (f *benchFlags) check() error {
	for _, n := range []struct {
		flag               string
		value, least, most int
	}{
		{"batch", f.batch, 1, maxTexts}, {"tokens", f.tokens, 1, math.MaxInt32}, {"callers", f.callers, 1, math.MaxInt}, {"runs", f.runs, 0, math.MaxInt},
		{"limit", f.limit, 0, math.MaxInt}, {"per-call", f.perCall, 0, maxTexts}, {"beside", f.beside, 0, maxTexts},
	} {
		if n.value < n.least {
			return usagef("--%s %d: want %d or more", n.flag, n.value, n.least)
		}
		if n.value > n.most {
			return usagef("--%s %d: want at most %d", n.flag, n.value, n.most)
		}
	}
	if !(f.seconds > 0) {
		return usagef("--seconds %g: want a positive number", f.seconds)
	}
	if f.interval < 0 {
		return usagef("--interval %v: want 0 or more", f.interval)
	}
	return nil
}

// report sums up the times of runs over count texts with this many tokens together.
func report(info vkbert.Info, count, tokens int, times []time.Duration) benchReport {
	if len(times) == 0 {
		return benchReport{}
	}
	middle := median(times)
	return benchReport{
		Model: info.Name, Device: info.Device.Name, DType: info.DType, Batch: count, Tokens: int(math.Round(float64(tokens) / float64(count))),
		Runs: len(times), MinMS: percentile(times, 0), MedianMS: middle, P99MS: percentile(times, 0.99),
		TokensPerSecond: float64(tokens) / middle * 1e3, TextsPerSecond: float64(count) / middle * 1e3,
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }

// median sorts the times and returns the middle in milliseconds.
func median(times []time.Duration) float64 {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return (milliseconds(times[(len(times)-1)/2]) + milliseconds(times[len(times)/2])) / 2
}

// percentile sorts the times and returns the one that the share p of them does not exceed, in milliseconds.
func percentile(times []time.Duration, p float64) float64 {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return milliseconds(times[max(0, int(math.Ceil(p*float64(len(times))))-1)])
}
