package vkbert_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/internal/testmodel"
)

func openTiny(t testing.TB, name string, opts ...vkbert.Option) *vkbert.Model {
	t.Helper()
	m, err := vkbert.Open(context.Background(), testmodel.Path("tiny", name), append([]vkbert.Option{vkbert.WithDevice("cpu")}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

func TestTextsOfEveryKind(t *testing.T) {
	ctx := context.Background()
	m := openTiny(t, "normalize")
	texts := map[string]string{
		"empty": "", "blank": " \t\n", "NUL inside": "abc\x00def", "invalid UTF-8": "abc\xff\xfedef", "lone combining mark": "\u0301",
		"lone surrogate in WTF-8": "\xed\xa0\x80", "one long word": strings.Repeat("a", 1<<20), "only unknown": "𓀀𓀁",
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			v, err := m.Embed(ctx, text)
			require.NoError(t, err)
			require.Len(t, v, m.Dimensions())
			assert.InDelta(t, 1, vkbert.Dot(v, v), 1e-5)
			again, err := m.Embed(ctx, text)
			require.NoError(t, err)
			assert.Equal(t, v, again)
		})
	}
	before, err := m.Embed(ctx, "abc")
	require.NoError(t, err)
	after, err := m.Embed(ctx, "abc\x00 zzz")
	require.NoError(t, err)
	assert.NotEqual(t, before, after, "what follows a NUL counts")
}

func TestBadCallsAreErrorsAndTheNextGoodOneWorks(t *testing.T) {
	ctx := context.Background()
	m := openTiny(t, "mean", vkbert.WithTruncation(false))
	vocabulary := int32(m.Info().Vocabulary)
	calls := map[string]func() error{
		"no texts":                      func() error { _, err := m.EmbedBatch(ctx, nil); return err },
		"no ids":                        func() error { _, err := m.EmbedTokens(ctx, [][]int32{{}}); return err },
		"nothing prepared":              func() error { _, err := m.EmbedPrepared(ctx, nil); return err },
		"no tokens of nothing prepared": func() error { _, err := m.TokenVectors(ctx, nil); return err },
		"no sequences":                  func() error { _, err := m.EmbedTokens(ctx, nil); return err },
		"id too large":                  func() error { _, err := m.EmbedTokens(ctx, [][]int32{{1, vocabulary}}); return err },
		"negative id":                   func() error { _, err := m.EmbedTokens(ctx, [][]int32{{-1}}); return err },
		"too long":                      func() error { _, err := m.EmbedTokens(ctx, [][]int32{make([]int32, 41)}); return err },
		"text too long, truncation off": func() error {
			_, err := m.Embed(ctx, strings.Repeat("a b ", 100))
			return err
		},
		"unknown prompt": func() error { _, err := m.EmbedWithPrompt(ctx, "nope", []string{"a"}); return err },
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			err := call()
			require.ErrorIs(t, err, vkbert.ErrInput)
			assert.NotContains(t, err.Error(), "\n")
			_, err = m.Embed(ctx, "good")
			require.NoError(t, err)
		})
	}
}

func TestOpenErrors(t *testing.T) {
	ctx := context.Background()
	tiny := testmodel.Path("tiny", "mean")
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	cases := map[string]struct {
		model string
		opts  []vkbert.Option
		want  error
		says  string
	}{
		"no such id":        {"nobody/nothing", nil, vkbert.ErrNotFound, "vkbert download"},
		"no such directory": {"./nowhere/at-all", nil, vkbert.ErrNotFound, "nowhere"},
		"no such device":    {tiny, []vkbert.Option{vkbert.WithDevice("vulkan:9")}, vkbert.ErrNoDevice, "vulkan:9"},
		"unknown device":    {tiny, []vkbert.Option{vkbert.WithDevice("tpu")}, vkbert.ErrNoDevice, "tpu"},
		"int4":              {tiny, []vkbert.Option{vkbert.WithDType("int4")}, vkbert.ErrUnsupported, "int4"},
		"pooling":           {tiny, []vkbert.Option{vkbert.WithPooling("median")}, vkbert.ErrUnsupported, "median"},
		"dimensions":        {tiny, []vkbert.Option{vkbert.WithDimensions(61)}, vkbert.ErrInput, "60"},
		"far too many":      {tiny, []vkbert.Option{vkbert.WithMaxBatchTokens(1 << 40)}, vkbert.ErrInput, "batch tokens"},
		"negative":          {tiny, []vkbert.Option{vkbert.WithMaxBatchTokens(-1)}, vkbert.ErrInput, "-1"},
		"NUL in a device":   {tiny, []vkbert.Option{vkbert.WithDevice("cpu\x00x")}, vkbert.ErrInput, `"cpu\x00x"`},
		"random":            {"random:huge", nil, vkbert.ErrNotFound, "minilm-l6"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			m, err := vkbert.Open(ctx, c.model, c.opts...)
			require.ErrorIs(t, err, c.want)
			assert.Contains(t, err.Error(), c.says)
			assert.NotContains(t, err.Error(), "\n")
			assert.Nil(t, m)
		})
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err := vkbert.Open(cancelled, tiny)
	require.ErrorIs(t, err, context.Canceled)
}

// changed copies a tiny directory and changes one of its files.
func changed(t *testing.T, name, file string, change func([]byte) []byte) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(testmodel.Path("tiny", name))))
	path := filepath.Join(dir, file)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, change(data), 0o644))
	return dir
}

func replace(from, to string) func([]byte) []byte {
	return func(data []byte) []byte {
		out := strings.Replace(string(data), from, to, 1)
		if out == string(data) {
			panic("nothing to replace: " + from)
		}
		return []byte(out)
	}
}

func TestDirectoriesThatAreRefused(t *testing.T) {
	cases := map[string]struct {
		file, from, to string
		want           error
		says           []string
	}{
		"architecture":     {"config.json", `"model_type": "bert"`, `"model_type": "xlnet"`, vkbert.ErrUnsupported, []string{"xlnet", "bert"}},
		"custom code":      {"config.json", `"model_type": "bert"`, `"model_type": "bert", "auto_map": {"AutoModel": "x--modeling.JinaBertModel"}`, vkbert.ErrUnsupported, []string{"JinaBertModel"}},
		"position type":    {"config.json", `"model_type": "bert"`, `"model_type": "bert", "position_embedding_type": "alibi"`, vkbert.ErrUnsupported, []string{"alibi"}},
		"unknown key":      {"config.json", `"model_type": "bert"`, `"model_type": "bert", "sliding_window_attention": 4`, vkbert.ErrUnsupported, []string{"sliding_window_attention"}},
		"activation":       {"config.json", `"hidden_act": "gelu"`, `"hidden_act": "mish"`, vkbert.ErrUnsupported, []string{"mish", "gelu"}},
		"no heads":         {"config.json", `"num_attention_heads": 5`, `"num_attention_heads": 0`, vkbert.ErrBadConfig, []string{"num_attention_heads", "0"}},
		"heads":            {"config.json", `"num_attention_heads": 5`, `"num_attention_heads": 7`, vkbert.ErrBadConfig, []string{"60", "7"}},
		"10^9 layers":      {"config.json", `"num_hidden_layers": 3`, `"num_hidden_layers": 1000000000`, vkbert.ErrBadConfig, []string{"num_hidden_layers"}},
		"negative eps":     {"config.json", `"layer_norm_eps": 0.001`, `"layer_norm_eps": -0.001`, vkbert.ErrBadConfig, []string{"layer_norm_eps"}},
		"a layer too many": {"config.json", `"num_hidden_layers": 3`, `"num_hidden_layers": 4`, vkbert.ErrBadTensor, []string{"encoder.layer.3", "[60 60]"}},
		"a layer too few":  {"config.json", `"num_hidden_layers": 3`, `"num_hidden_layers": 2`, vkbert.ErrUnsupported, []string{"encoder.layer.2"}},
		"other width":      {"config.json", `"hidden_size": 60`, `"hidden_size": 65`, vkbert.ErrBadConfig, []string{"60", "65"}},
		"quantised":        {"config.json", `"model_type": "bert"`, `"model_type": "bert", "quantization_config": {"bits": 4}`, vkbert.ErrUnsupported, []string{"quantization_config"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := changed(t, "mean", c.file, replace(c.from, c.to))
			_, err := vkbert.Open(context.Background(), dir, vkbert.WithDevice("cpu"))
			require.ErrorIs(t, err, c.want)
			for _, say := range c.says {
				assert.Contains(t, err.Error(), say)
			}
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

// Weights that hold NaN load, with a warning; a text that reaches them is an error, never a vector.
func TestNaNWeights(t *testing.T) {
	nan := []byte{0, 0, 0xc0, 0x7f}
	dir := changed(t, "mean", "model.safetensors", func(data []byte) []byte { return append(data[:len(data)-4], nan...) })
	var log strings.Builder
	m, err := vkbert.Open(context.Background(), dir, vkbert.WithDevice("cpu"), vkbert.WithLogger(textLogger(&log)))
	require.NoError(t, err)
	defer m.Close()
	_, err = m.Embed(context.Background(), "a")
	require.ErrorIs(t, err, vkbert.ErrNotFinite)
	require.ErrorIs(t, m.HealthCheck(context.Background()), vkbert.ErrNotFinite)
	assert.Contains(t, log.String(), "NaN")
	assert.Equal(t, uint64(1), m.Info().NonFinite)
	assert.Contains(t, log.String(), "encoder.layer.2.output.dense.weight", "the last tensor of the file")
}

func TestOptions(t *testing.T) {
	ctx := context.Background()
	plain := openTiny(t, "normalize")
	full, err := plain.Embed(ctx, "some text")
	require.NoError(t, err)

	cut, err := openTiny(t, "normalize", vkbert.WithDimensions(10)).Embed(ctx, "some text")
	require.NoError(t, err)
	assert.Equal(t, full[:10], cut, "cut, and not normalised again")
	unit, err := openTiny(t, "normalize", vkbert.WithDimensions(10), vkbert.WithNormalize(true)).Embed(ctx, "some text")
	require.NoError(t, err)
	assert.InDelta(t, 1, vkbert.Dot(unit, unit), 1e-6)

	want, err := openTiny(t, "cls").Embed(ctx, "some text")
	require.NoError(t, err)
	cls, err := openTiny(t, "mean", vkbert.WithPooling("cls")).Embed(ctx, "some text")
	require.NoError(t, err)
	assert.Equal(t, want, cls)
	assert.Equal(t, []string{"cls", "max"}, openTiny(t, "mean", vkbert.WithPooling("cls", "max")).Info().Pooling)

	f16, err := openTiny(t, "normalize", vkbert.WithDType("f16")).Embed(ctx, "some text")
	require.NoError(t, err)
	assert.Greater(t, vkbert.Cosine(full, f16), float32(0.999))
	assert.NotEqual(t, full, f16)

	int8 := openTiny(t, "normalize", vkbert.WithDType("int8"), vkbert.WithDevice("cpu"))
	assert.Equal(t, "int8", int8.Info().DType)
	v, err := int8.Embed(ctx, "some text")
	require.NoError(t, err)
	assert.Greater(t, vkbert.Cosine(full, v), float32(0.995))
	assert.NotEqual(t, f16, v)
}

func TestBatchesOfAnySize(t *testing.T) {
	ctx := context.Background()
	golden := testmodel.Read(t, testmodel.Path("tiny", "mean", "golden.json"))
	for _, tokens := range []int{1, 40, 41, 100, 10000} {
		t.Run(fmt.Sprint(tokens), func(t *testing.T) {
			m := openTiny(t, "mean", vkbert.WithMaxBatchTokens(tokens))
			var texts []string
			for range 20 {
				texts = append(texts, golden.Texts...)
			}
			vectors, err := m.EmbedBatch(ctx, texts)
			require.NoError(t, err)
			for i, v := range vectors {
				d, largest := testmodel.MaxDifference(t, golden.Vectors[i%len(golden.Texts)], v)
				assert.LessOrEqual(t, d/largest, 1e-5)
			}
		})
	}
}

// 64 goroutines, each with its own texts: every vector equals the one that the text has alone.
func TestConcurrentCalls(t *testing.T) {
	ctx := context.Background()
	m := openTiny(t, "mean")
	golden := testmodel.Read(t, testmodel.Path("tiny", "mean", "golden.json"))
	var group sync.WaitGroup
	for g := range 64 {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := range 8 {
				n := (g + i) % len(golden.Texts)
				v, err := m.Embed(ctx, golden.Texts[n])
				if assert.NoError(t, err) {
					d, largest := testmodel.MaxDifference(t, golden.Vectors[n], v)
					assert.LessOrEqual(t, d/largest, 1e-5)
				}
			}
		}()
	}
	group.Wait()
	assert.Zero(t, m.Stats().Waiting)
	assert.EqualValues(t, 64*8+1, m.Stats().Sequences, "the calls and the probe at Open")
}

// whileBusy keeps the device busy with a call of its own, and calls f meanwhile.
func whileBusy(t *testing.T, m *vkbert.Model, f func()) {
	t.Helper()
	ids := make([][]int32, 64)
	for i := range ids {
		ids[i] = make([]int32, m.Info().MaxTokens)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = m.EmbedTokens(ctx, ids)
	}()
	require.Eventually(t, func() bool { return m.Stats().Waiting > 0 }, 5*time.Second, time.Millisecond)
	f()
	cancel()
	<-done
}

// cancelled calls f with a context that ends after a while, and wants its error at once.
func cancelled(t *testing.T, after time.Duration, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var at time.Time
	time.AfterFunc(after, func() { at = time.Now(); cancel() })
	err := f(ctx)
	late := time.Since(at)
	require.ErrorIs(t, err, context.Canceled)
	if !raceEnabled {
		assert.Less(t, late, 50*time.Millisecond, "the promise is 10 ms; a loaded machine is given more")
	}
}

func TestCancel(t *testing.T) {
	m, err := vkbert.Open(context.Background(), "random:minilm-l6", vkbert.WithDevice("cpu"))
	require.NoError(t, err)
	defer m.Close()
	ids := make([][]int32, 64)
	for i := range ids {
		ids[i] = make([]int32, 512)
	}
	embed := func(ctx context.Context) error { _, err := m.EmbedTokens(ctx, ids); return err }
	t.Run("running", func(t *testing.T) { cancelled(t, 20*time.Millisecond, embed) })
	t.Run("queued", func(t *testing.T) {
		whileBusy(t, m, func() { cancelled(t, 5*time.Millisecond, embed) })
	})
	for i := range ids { // the ids are the caller's again
		clear(ids[i])
	}
	_, err = m.EmbedTokens(context.Background(), [][]int32{{101, 102}})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return m.Stats().Waiting == 0 }, 5*time.Second, time.Millisecond)

	t.Run("tokenizing", func(t *testing.T) {
		tiny := openTiny(t, "mean", vkbert.WithTruncation(false)) // else the beginning of a text is enough
		long := strings.Repeat("a ", 8<<20)
		cancelled(t, 20*time.Millisecond, func(ctx context.Context) error { _, err := tiny.Embed(ctx, long); return err })
		_, err := tiny.Embed(context.Background(), "a")
		require.NoError(t, err)
	})
}

// Close waits for the calls under way, and they succeed.
func TestCloseDrains(t *testing.T) {
	ctx := context.Background()
	texts := make([]string, 2000)
	for i := range texts {
		texts[i] = strings.Repeat("some words and more ", 10)
	}
	m := openTiny(t, "mean")
	err := make(chan error, 1)
	before := m.Stats().Sequences
	go func() {
		_, e := m.EmbedBatch(ctx, texts)
		err <- e
	}()
	for entered := false; !entered; { // the call is tokenizing, or further
		time.Sleep(time.Millisecond)
		entered = m.Stats().Sequences > before || m.Stats().Waiting > 0
	}
	require.NoError(t, m.Close())
	require.NoError(t, <-err)
}

func TestCloseWhileTokenizing(t *testing.T) {
	m := openTiny(t, "mean", vkbert.WithTruncation(false))
	err := make(chan error, 1)
	started := make(chan struct{})
	text := strings.Repeat("a ", 16<<20) // takes a while itself
	go func() {
		close(started)
		_, e := m.Embed(context.Background(), text)
		err <- e
	}()
	<-started
	time.Sleep(100 * time.Millisecond)
	require.NoError(t, m.Close())
	require.ErrorIs(t, <-err, vkbert.ErrInput, "the text is too long, which is found out at its end")
}

func TestClosed(t *testing.T) {
	ctx := context.Background()
	m := openTiny(t, "mean")
	var group sync.WaitGroup
	for range 32 { // drained or refused, and nothing else
		group.Add(1)
		go func() {
			defer group.Done()
			if _, err := m.EmbedBatch(ctx, []string{"a", "b c", "d e f"}); err != nil {
				assert.ErrorIs(t, err, vkbert.ErrClosed)
			}
		}()
	}
	runtime.Gosched()
	require.NoError(t, m.Close())
	group.Wait()
	require.NoError(t, m.Close())
	_, err := m.Embed(ctx, "a")
	require.ErrorIs(t, err, vkbert.ErrClosed)
	_, err = m.EmbedTokens(ctx, [][]int32{{1}})
	require.ErrorIs(t, err, vkbert.ErrClosed)
	_, err = m.PrepareTokens([][]int32{{1}})
	require.ErrorIs(t, err, vkbert.ErrClosed)
	require.ErrorIs(t, m.HealthCheck(ctx), vkbert.ErrClosed)
}

func TestProvider(t *testing.T) {
	ctx := context.Background()
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	var p vkbert.EmbeddingProvider = openTiny(t, "mean")
	assert.Equal(t, "vkbert", p.ProviderName())
	assert.Equal(t, "mean", p.ModelName())
	assert.Equal(t, 60, p.Dimensions())
	require.NoError(t, p.HealthCheck(ctx))
	found, err := p.ListModels(ctx)
	require.NoError(t, err)
	assert.Empty(t, found)
	found, err = vkbert.Discover(ctx, testmodel.Path("tiny"))
	require.NoError(t, err)
	assert.Len(t, found, len(testmodel.Tiny(t)))
	for _, f := range found {
		assert.NoError(t, f.Err, f.Dir)
	}
}

func TestSimilarity(t *testing.T) {
	a, b, zero := []float32{3, 4}, []float32{4, 3}, []float32{0, 0}
	assert.EqualValues(t, 24, vkbert.Dot(a, b))
	assert.InDelta(t, 0.96, vkbert.Cosine(a, b), 1e-6)
	assert.Zero(t, vkbert.Cosine(a, zero))
	assert.Equal(t, zero, vkbert.Normalize([]float32{0, 0}))
	assert.InDelta(t, 1, vkbert.Dot(vkbert.Normalize([]float32{3, 4}), vkbert.Normalize([]float32{3, 4})), 1e-6)
	matches := vkbert.TopK(a, [][]float32{b, {-3, -4}, a, a}, 3)
	require.Len(t, matches, 3)
	assert.Equal(t, []int{2, 3, 0}, []int{matches[0].Index, matches[1].Index, matches[2].Index})
	assert.Len(t, vkbert.TopK(a, [][]float32{b}, -1), 1)
	assert.Panics(t, func() { vkbert.Dot(a, []float32{1}) })
	assert.False(t, math.IsNaN(float64(vkbert.Cosine(zero, zero))))
}

func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// Of a prompt that fills the model and is left out of pooling, the special token at the end is what is pooled: numbers from sentence-transformers 6.2.
func TestPromptLongerThanTheModel(t *testing.T) {
	m := openTiny(t, "prompts")
	v, err := m.EmbedWith(context.Background(), []string{"the mat"}, vkbert.WithPromptText(strings.Repeat("the cat ", 25)))
	require.NoError(t, err)
	assert.InDeltaSlice(t, []float32{-0.642, 1.190, -0.503}, v[0][:3], 1e-3)
}
