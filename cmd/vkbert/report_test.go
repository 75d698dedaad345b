package main

import (
	"encoding/json"
	"maps"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/internal/testmodel"
)

func TestSimilarity(t *testing.T) {
	g := testmodel.Read(t, filepath.Join(tiny("prompts"), "golden.json"))
	query, texts := 1, []int{2, 7, 1, 8, 2}
	args := []string{"similarity", "-m", tiny("prompts"), "--device", "cpu", g.Texts[query]}
	for _, i := range texts {
		args = append(args, g.Texts[i])
	}
	var ranked []scored
	require.NoError(t, json.Unmarshal([]byte(good(t, "", append(args, "--json")...)), &ranked))
	require.Len(t, ranked, len(texts))
	lines := strings.Split(strings.TrimSuffix(good(t, "", args...), "\n"), "\n")
	require.Len(t, lines, len(texts))
	for i, r := range ranked {
		assert.Equal(t, g.Texts[texts[r.Index]], r.Text)
		assert.InDelta(t, vkbert.Cosine(g.Query.Vectors[query], g.Document.Vectors[texts[r.Index]]), r.Score, 1e-5)
		assert.Regexp(t, `^-?[01]\.\d{4}\t`+regexp.QuoteMeta(r.Text)+`$`, lines[i])
		if i > 0 {
			assert.GreaterOrEqual(t, ranked[i-1].Score, r.Score)
			if ranked[i-1].Score == r.Score {
				assert.Less(t, ranked[i-1].Index, r.Index)
			}
		}
	}
	out := good(t, "", "similarity", "-m", tiny("mean"), "--device", "cpu", "a", "two\nlines\tand\x1b[31m more")
	assert.True(t, strings.HasSuffix(out, "\t"+`two\nlines\tand\x1b[31m more`+"\n"), out)
	assert.Contains(t, good(t, "", "similarity", "-m", tiny("mean"), "--device", "cpu", "--json", "a", "<b>\n"), `"<b>\n"`)
}

func TestSimilarityFunctions(t *testing.T) {
	for name, want := range map[string]float64{"cosine": 0.6, "dot": 3, "euclidean": -math.Sqrt(20), "manhattan": -6} {
		assert.InDelta(t, want, similarities[name]([]float32{1, 0}, []float32{3, 4}), 1e-6, name)
		dir := changed(t, "config_sentence_transformers.json", `"cosine"`, `"`+name+`"`)
		out := good(t, "", "similarity", "-m", dir, "--device", "cpu", "cat", "the dog", "cat")
		g := testmodel.Read(t, filepath.Join(tiny("mean"), "golden.json"))
		var scores []float64
		for line := range strings.Lines(out) {
			var x float64
			require.NoError(t, json.Unmarshal([]byte(line[:strings.IndexByte(line, '\t')]), &x))
			scores = append(scores, x)
		}
		expected := []float64{similarities[name](g.Vectors[1], g.Vectors[2]), similarities[name](g.Vectors[1], g.Vectors[1])}
		slices.SortFunc(expected, func(a, b float64) int { return int(math.Copysign(1, b-a)) })
		assert.InDeltaSlice(t, expected, scores, 1e-3, name)
	}
}

func TestInfo(t *testing.T) {
	out := good(t, "", "info", "-m", tiny("prompts"), "--device", "cpu", "--json")
	var r modelReport
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&r))
	assert.Positive(t, r.WeightBytes)
	assert.Positive(t, r.ArenaBytes)
	assert.NotEmpty(t, r.Device)
	r.WeightBytes, r.ArenaBytes, r.HostBytes, r.Device, r.MaxBatchTokens = 0, 0, 0, "", 0
	assert.Equal(t, modelReport{
		Kind:  "SentenceTransformer",
		Model: "prompts", Directory: tiny("prompts"), Architecture: "bert", Dimensions: 60, MaxTokens: 40, Modules: []string{"Transformer", "Pooling"},
		Pooling: []string{"mean"}, Prompts: map[string]string{"query": "find: ", "document": "text: ", "sort": "sort this: ", "joined": "un"}, DefaultPrompt: "sort",
		Similarity: "cosine", Hidden: 60, Layers: 3, Heads: 5, Vocabulary: 293, UnusedTensors: []string{}, DType: "f32",
	}, r)

	text := good(t, "", "info", "-m", tiny("old"), "--device", "cpu", "--dtype", "f16")
	for _, want := range []string{`model +old\n`, `dimensions +360\n`, `longest text +24 tokens\n`, `pooling +cls, max, mean, .*lasttoken\n`, `prompts +none\n`, `unused tensors +.*pooler.dense.bias`, `weights +\d+\.\d MB in f16\n`} {
		assert.Regexp(t, want, text)
	}
	assert.Contains(t, good(t, "", "info", "-m", tiny("prompts"), "--device", "cpu"), `sort: "sort this: " (the default)`)
	assert.Contains(t, good(t, "", "info", "-m", "random:"+filepath.Join(tiny("mean"), "config.json"), "--device", "cpu"), "vocabulary of 293")
}

func TestDevices(t *testing.T) {
	var reports []deviceReport
	require.NoError(t, json.Unmarshal([]byte(good(t, "", "devices", "--json")), &reports))
	text := good(t, "", "devices")
	usable := map[string]bool{}
	for _, r := range reports {
		usable[r.Selector] = r.Usable
		assert.Contains(t, text, r.Name)
		if !r.Usable {
			assert.NotEmpty(t, r.Reason)
		}
	}
	assert.True(t, usable["cpu"] && usable["reference"])
}

func TestDeviceReport(t *testing.T) {
	gpu := reportDevice(vkbert.DeviceInfo{
		Kind: cgo.Discrete, Selector: "vulkan:0", Name: "A card", Driver: "driver 1", APIVersion: 1<<22 | 3<<12 | 277, MemoryBytes: 80e9, MemoryAvailable: 79e9,
		Features: cgo.F16Storage | cgo.ComputeQueue, UUID: [16]byte{0xab}, Reason: "no storage\nat all",
	})
	gpu.Variants = []variantReport{{Name: "linear 64x64", State: "runs"}, {Name: "linear 128x128", State: "off", Reason: "wrong results"}}
	none := reportDevice(vkbert.DeviceInfo{Kind: cgo.NoVulkan, Name: "Vulkan", Reason: "no loader"})
	var out strings.Builder
	require.NoError(t, printDevices(&out, []deviceReport{gpu, none}))
	assert.Equal(t, `vulkan:0  A card
          discrete GPU, Vulkan 1.3.277, driver 1, 80.0 GB memory, 79.0 GB of it free
          f16 storage, compute queue
          not usable: no storage; at all
          runs     linear 64x64
          off      linear 128x128: wrong results
-         Vulkan
          none
          not usable: no loader
`, out.String())
	assert.Equal(t, "ab000000000000000000000000000000", gpu.UUID)
	assert.Equal(t, "1.3.277", gpu.VulkanVersion)
}

func TestBench(t *testing.T) {
	config := "random:" + filepath.Join(tiny("mean"), "config.json")
	run := func(args ...string) map[string]any {
		out := good(t, "", append([]string{"bench", "--device", "cpu", "--json"}, args...)...)
		assert.Equal(t, 1, strings.Count(out, "\n"), "one line")
		var r map[string]any
		require.NoError(t, json.Unmarshal([]byte(out), &r))
		keys := []string{"batch", "beside", "call_median_ms", "call_p99_budgets", "call_p99_ms", "callers", "device", "dtype", "median_ms", "min_ms", "model", "p99_ms", "parts", "per_call", "runs", "texts_per_second", "tokens", "tokens_per_second"}
		assert.Equal(t, keys, slices.Sorted(maps.Keys(r)))
		assert.Positive(t, r["median_ms"])
		assert.LessOrEqual(t, r["min_ms"], r["median_ms"])
		assert.LessOrEqual(t, r["median_ms"], r["p99_ms"])
		return r
	}
	r := run("-m", config, "--batch", "3", "--tokens", "5", "--runs", "4", "--dtype", "f16")
	assert.EqualValues(t, []any{config, "f16", 3.0, 5.0, 4.0}, []any{r["model"], r["dtype"], r["batch"], r["tokens"], r["runs"]})
	assert.InEpsilon(t, 15e3/r["median_ms"].(float64), r["tokens_per_second"], 1e-9)

	texts := write(t, "texts", strings.Repeat("the cat\n", 2*chunkTexts))
	r = run("-m", tiny("mean"), "--texts", texts, "--seconds", "0.1")
	assert.EqualValues(t, []any{"mean", "f32", 2.0 * chunkTexts, 4.0}, []any{r["model"], r["dtype"], r["batch"], r["tokens"]})
	assert.GreaterOrEqual(t, r["runs"], 3.0)
	of := r["parts"].(map[string]any)
	assert.Positive(t, of["tokenize_ms"])
	assert.Positive(t, of["batches"])
	assert.LessOrEqual(t, of["compute_ms"].(float64)+of["idle_ms"].(float64), r["p99_ms"].(float64)*1.2)

	lengths := write(t, "lengths", "3\n5\n4\n40\n")
	r = run("-m", tiny("mean"), "--lengths", lengths, "--limit", "3", "--per-call", "2", "--callers", "4", "--runs", "3")
	assert.EqualValues(t, []any{3.0, 4.0, 2.0, 4.0}, []any{r["batch"], r["tokens"], r["per_call"], r["callers"]})

	r = run("-m", tiny("mean"), "--lengths", lengths, "--limit", "3", "--per-call", "1", "--runs", "3", "--beside", "2000")
	assert.EqualValues(t, []any{3.0, 4.0, 1.0, 2000.0}, []any{r["batch"], r["tokens"], r["per_call"], r["beside"]})
	assert.Positive(t, r["call_p99_budgets"])

	text := good(t, "", "bench", "-m", config, "--device", "cpu", "--batch", "2", "--tokens", "3", "--runs", "1")
	assert.Regexp(t, `\A.* on .*, f32: 2 texts of 3 tokens\n1 runs: median [\d.]+ ms, p99 [\d.]+ ms, least [\d.]+ ms\n\d+ tokens/s, \d+ texts/s\na run: .*\n\z`, text)
}

func TestBenchReport(t *testing.T) {
	var times []time.Duration
	for i := 200; i > 0; i-- {
		times = append(times, time.Duration(i)*time.Millisecond)
	}
	r := report(vkbert.Info{DType: "f32"}, 10, 1000, times)
	assert.Equal(t, []float64{1, 100.5, 198}, []float64{r.MinMS, r.MedianMS, r.P99MS})
	assert.InEpsilon(t, 1000/0.1005, r.TokensPerSecond, 1e-9)
	assert.InEpsilon(t, 10/0.1005, r.TextsPerSecond, 1e-9)
	assert.Equal(t, []int{200, 10, 100}, []int{r.Runs, r.Batch, r.Tokens})
}
