package vkbert_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/internal/testmodel"
)

// compare holds vectors against golden ones: relative to the largest value of each vector, or absolute where relative is false.
func compare(t *testing.T, what string, want, got [][]float32, tolerance float64, relative bool) {
	t.Helper()
	require.Len(t, got, len(want), what)
	worst := 0.0
	for i := range want {
		d, largest := testmodel.MaxDifference(t, want[i], got[i])
		if relative && largest > 0 {
			d /= largest
		}
		assert.LessOrEqual(t, d, tolerance, "%s, text %d", what, i)
		worst = max(worst, d)
	}
	t.Logf("%s: max difference %.2g", what, worst)
}

func tokenIDs(t *testing.T, m *vkbert.Model, texts []string, prompt string) [][]int32 {
	t.Helper()
	ids := make([][]int32, len(texts))
	for i, text := range texts {
		tokens, err := m.Tokenize(text, prompt)
		require.NoError(t, err)
		ids[i] = tokens.IDs
	}
	return ids
}

// The token ids and vectors of sentence-transformers, for every tiny directory (pooling modes, modules, prompts, spellings, dtypes, odd sizes) on
// every device.
func TestTinyDirectories(t *testing.T) { testDirectories(t, "tiny", testmodel.Tiny(t)) }

// What is refused, and the word that the refusal must say.
var refused = map[string]string{
	"colbert":          "MultiVectorEncoder, which vkbert.OpenMultiVector opens",
	"colbert_stanford": "MultiVectorEncoder, which vkbert.OpenMultiVector opens",
	"splade":           "SparseEncoder, which vkbert.OpenSparse opens",
	"cross_bert":       "CrossEncoder, which vkbert.OpenReranker opens",
	"cross_modernbert": "CrossEncoder, which vkbert.OpenReranker opens",
}

// The same for every architecture.
func TestArchitectures(t *testing.T) {
	var supported []string
	for _, name := range testmodel.Arch(t) {
		if refused[name] == "" && testmodel.OneVectorEach(t, testmodel.Path("arch", name, "golden.json")) {
			supported = append(supported, name)
		}
	}
	testDirectories(t, "arch", supported)
}

func TestRefusedArchitectures(t *testing.T) {
	for name, word := range refused {
		_, err := vkbert.Open(context.Background(), testmodel.Path("arch", name), vkbert.WithDevice("cpu"))
		require.ErrorIs(t, err, vkbert.ErrUnsupported, name)
		assert.Contains(t, err.Error(), word)
	}
}

func testDirectories(t *testing.T, folder string, names []string) {
	ctx := context.Background()
	for _, device := range testmodel.Devices() {
		for _, name := range names {
			t.Run(device+"/"+name, func(t *testing.T) {
				m, err := vkbert.Open(ctx, testmodel.Path(folder, name), vkbert.WithDevice(testmodel.Device(t, device)), vkbert.WithDType("f32"))
				require.NoError(t, err)
				defer m.Close()
				golden := testmodel.Read(t, testmodel.Path(folder, name, "golden.json"))

				assert.Equal(t, golden.IDs, tokenIDs(t, m, golden.Texts, ""))
				got, err := m.EmbedBatch(ctx, golden.Texts)
				require.NoError(t, err)
				compare(t, "texts", golden.Vectors, got, 1e-5, true)
				require.Len(t, got[0], m.Dimensions())

				if golden.Raw.IDs != nil {
					got, err = m.EmbedTokens(ctx, golden.Raw.IDs)
					require.NoError(t, err)
					compare(t, "raw ids", golden.Raw.Vectors, got, 1e-5, true)
				}

				if golden.Query != nil {
					vectors := make([][]float32, len(golden.Texts))
					for i, text := range golden.Texts {
						vectors[i], err = m.EmbedQuery(ctx, text)
						require.NoError(t, err)
					}
					compare(t, "queries", golden.Query.Vectors, vectors, 1e-5, true)
				}
				if golden.Document != nil {
					got, err = m.EmbedDocuments(ctx, golden.Texts)
					require.NoError(t, err)
					compare(t, "documents", golden.Document.Vectors, got, 1e-5, true)
				}
				for task, set := range golden.Tasks {
					got, err = m.EmbedWith(ctx, golden.Texts, vkbert.WithTask(task))
					require.NoError(t, err)
					compare(t, "task "+task, set.Vectors, got, 1e-5, true)
					for i, text := range golden.Texts {
						tokens, err := m.TokenizeWith(text, vkbert.WithTask(task))
						require.NoError(t, err)
						assert.Equal(t, set.IDs[i], tokens.IDs)
					}
				}
				for prompt, set := range golden.Prompts {
					got, err = m.EmbedWithPrompt(ctx, prompt, golden.Texts)
					require.NoError(t, err)
					compare(t, "prompt "+prompt, set.Vectors, got, 1e-5, true)
					assert.Equal(t, set.IDs, tokenIDs(t, m, golden.Texts, prompt))
				}
			})
		}
	}
}

// The real all-MiniLM-L6-v2 on texts of every kind: empty, over the limit, many scripts, emoji, NUL, code.
func TestMiniLM(t *testing.T) {
	ctx := context.Background()
	dir := testmodel.MiniLM(t)
	golden := testmodel.MiniLMGolden(t, dir)
	for _, device := range testmodel.Devices() {
		t.Run(device, func(t *testing.T) {
			m, err := vkbert.Open(ctx, dir, vkbert.WithDevice(testmodel.Device(t, device)), vkbert.WithDType("f32"))
			require.NoError(t, err)
			defer m.Close()
			assert.Equal(t, golden.IDs, tokenIDs(t, m, golden.Texts, ""))
			got, err := m.EmbedBatch(ctx, golden.Texts)
			require.NoError(t, err)
			compare(t, "texts", golden.Vectors, got, 2e-6, false)
		})
	}
}

// The same texts with int8 weights: near the golden vectors, and as the reference has them, but where a step of an activation falls the other way.
func TestMiniLMInt8(t *testing.T) {
	ctx := context.Background()
	dir := testmodel.MiniLM(t)
	golden := testmodel.MiniLMGolden(t, dir)
	texts := golden.Texts[:8]
	embed := func(device string) ([][]float32, string) {
		m, err := vkbert.Open(ctx, dir, vkbert.WithDevice(device), vkbert.WithDType("int8"))
		require.NoError(t, err)
		defer m.Close()
		vectors, err := m.EmbedBatch(ctx, texts)
		require.NoError(t, err)
		return vectors, m.Info().Device.Driver
	}
	want, _ := embed("reference")
	for _, device := range testmodel.Devices() {
		if device == "reference" {
			continue
		}
		t.Run(device, func(t *testing.T) {
			got, driver := embed(testmodel.Device(t, device))
			bar, near := float32(0.98), float32(0.9995)
			switch {
			case device != "cpu":
				near = 0.97 // values between ops are f16, so that more steps fall the other way; least for a text of one unknown token
			case strings.HasSuffix(driver, "(AVX2, FMA, F16C)"):
				bar, near = 0.97, 0.95 // 7 bits, not 8; least for an empty text
			}
			for i := range texts {
				assert.Greater(t, vkbert.Cosine(got[i], golden.Vectors[i]), bar, texts[i])
				assert.Greater(t, vkbert.Cosine(got[i], want[i]), near, texts[i])
			}
		})
	}
}

// A text has the same vector alone, in a batch of 200, and beside neighbours of other lengths.
func TestBatchInvariance(t *testing.T) {
	ctx := context.Background()
	for _, device := range testmodel.Devices() {
		if device == "reference" {
			continue // one row after another: nothing to find, and slow
		}
		t.Run(device, func(t *testing.T) {
			m, err := vkbert.Open(ctx, testmodel.MiniLM(t), vkbert.WithDevice(testmodel.Device(t, device)), vkbert.WithDType("f32"))
			require.NoError(t, err)
			defer m.Close()
			golden := testmodel.Read(t, testmodel.Path("golden", "minilm.json"))
			text := "The quick brown fox jumps over the lazy dog."
			alone, err := m.Embed(ctx, text)
			require.NoError(t, err)
			batch := make([]string, 200)
			for i := range batch {
				batch[i] = text
			}
			short := golden.Texts[:12]
			for i, neighbour := range short {
				batch[i*16+3] = neighbour
			}
			together, err := m.EmbedBatch(ctx, batch)
			require.NoError(t, err)
			worst := 0.0
			for i, v := range together {
				if batch[i] == text {
					d, _ := testmodel.MaxDifference(t, alone, v)
					worst = max(worst, d)
				}
			}
			assert.LessOrEqual(t, worst, 1e-6)
			t.Logf("max difference %.2g", worst)
		})
	}
}

// The real all-mpnet-base-v2, where VKBERT_MPNET_DIR names a directory that holds it.
func TestMPNet(t *testing.T) {
	ctx := context.Background()
	dir := os.Getenv("VKBERT_MPNET_DIR")
	if dir == "" {
		t.Skip("VKBERT_MPNET_DIR does not name a directory with all-mpnet-base-v2")
	}
	golden := testmodel.Read(t, testmodel.Path("golden", "mpnet.json"))
	for _, device := range testmodel.Devices() {
		t.Run(device, func(t *testing.T) {
			texts, vectors := golden.Texts, golden.Vectors
			if device == "reference" || strings.Contains(device, "llvmpipe") {
				texts, vectors = texts[:6], vectors[:6] // slow
			}
			m, err := vkbert.Open(ctx, dir, vkbert.WithDevice(testmodel.Device(t, device)), vkbert.WithDType("f32"))
			require.NoError(t, err)
			defer m.Close()
			assert.Equal(t, golden.IDs, tokenIDs(t, m, golden.Texts, ""))
			got, err := m.EmbedBatch(ctx, texts)
			require.NoError(t, err)
			compare(t, "texts", vectors, got, 5e-6, false)
			if device == "reference" {
				return // its f16 is the CPU's
			}
			half, err := vkbert.Open(ctx, dir, vkbert.WithDevice(device), vkbert.WithDType("f16"))
			require.NoError(t, err)
			defer half.Close()
			got, err = half.EmbedBatch(ctx, texts)
			require.NoError(t, err)
			for i := range vectors {
				assert.GreaterOrEqual(t, vkbert.Cosine(vectors[i], got[i]), float32(0.99998), "f16, text %d", i)
			}
		})
	}
}

// With f16 weights the vectors point where those of f32 point, for every architecture.
func TestF16(t *testing.T) {
	ctx := context.Background()
	for _, device := range testmodel.Devices() {
		if device == "reference" {
			continue // the CPU backend has the same arithmetic, and is faster
		}
		for _, name := range testmodel.Arch(t) {
			if refused[name] != "" || !testmodel.OneVectorEach(t, testmodel.Path("arch", name, "golden.json")) {
				continue
			}
			t.Run(device+"/"+name, func(t *testing.T) {
				m, err := vkbert.Open(ctx, testmodel.Path("arch", name), vkbert.WithDevice(testmodel.Device(t, device)), vkbert.WithDType("f16"))
				require.NoError(t, err)
				defer m.Close()
				golden := testmodel.Read(t, testmodel.Path("arch", name, "golden.json"))
				got, err := m.EmbedBatch(ctx, golden.Texts)
				require.NoError(t, err)
				least := float32(1)
				for i, want := range golden.Vectors {
					if vkbert.Dot(want, want) > 0 {
						least = min(least, vkbert.Cosine(want, got[i]))
					}
				}
				t.Logf("1 - cosine at most %.2g", 1-least)
				assert.GreaterOrEqual(t, least, float32(0.9999))
			})
		}
	}
}
