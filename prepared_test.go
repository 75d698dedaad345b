package vkbert_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/internal/testmodel"
)

// TestPrepared: what is tokenized first and embedded then has the vectors of the call that does both.
func TestPrepared(t *testing.T) {
	for _, name := range []string{"tiny/mean", "tiny/prompts", "tiny/modes", "arch/mpnet", "arch/qwen3", "arch/jina_v3", "arch/static", "arch/router"} {
		t.Run(name, func(t *testing.T) {
			ctx, dir := t.Context(), testmodel.Path(strings.Split(name, "/")...)
			m, err := vkbert.Open(ctx, dir, vkbert.WithDevice("cpu"))
			require.NoError(t, err)
			defer m.Close()
			texts := append(testmodel.Read(t, filepath.Join(dir, "golden.json")).Texts, strings.Repeat("cat dog ", 4000))
			for way, with := range map[string][2]func() (any, error){
				"plain": {
					func() (any, error) { return m.EmbedBatch(ctx, texts) },
					func() (any, error) {
						p, err := m.Prepare(ctx, texts, vkbert.TruncateAsOpened)
						if err != nil {
							return nil, err
						}
						total := 0
						for _, text := range texts {
							tokens, err := m.TokenizeWith(text)
							require.NoError(t, err)
							total += len(tokens.IDs)
						}
						assert.Equal(t, total, p.Tokens())
						assert.Equal(t, len(texts), p.Texts())
						return m.EmbedPrepared(ctx, p)
					},
				},
				"queries": {
					func() (any, error) { return m.EmbedQueries(ctx, texts) },
					func() (any, error) {
						p, err := m.PrepareQueries(ctx, texts, vkbert.TruncateEnd)
						if err != nil {
							return nil, err
						}
						return m.EmbedPrepared(ctx, p)
					},
				},
			} {
				want, failed := with[0]()
				got, err := with[1]()
				if failed != nil {
					require.EqualError(t, err, failed.Error(), way)
					continue
				}
				require.NoError(t, err, way)
				for i, w := range want.([][]float32) {
					difference, largest := testmodel.MaxDifference(t, w, got.([][]float32)[i])
					assert.LessOrEqual(t, difference, 1e-5*max(1, largest), "%s text %d", way, i)
				}
			}
		})
	}
}

func TestPreparedTruncation(t *testing.T) {
	ctx := t.Context()
	m, err := vkbert.Open(ctx, testmodel.Path("tiny", "mean"), vkbert.WithDevice("cpu"))
	require.NoError(t, err)
	defer m.Close()
	long := "dog" + strings.Repeat(" cat", 5000)
	_, err = m.Prepare(ctx, []string{"a", long}, vkbert.TruncateNone)
	var tooLong *vkbert.TooLongError
	require.ErrorAs(t, err, &tooLong)
	require.ErrorIs(t, err, vkbert.ErrInput)
	assert.Equal(t, vkbert.TooLongError{Text: 1, Tokens: 5003, Limit: m.Info().MaxTokens}, *tooLong)
	vectors := map[vkbert.Truncation][]float32{}
	for _, cut := range []vkbert.Truncation{vkbert.TruncateAsOpened, vkbert.TruncateEnd, vkbert.TruncateStart} {
		p, err := m.Prepare(ctx, []string{long}, cut)
		require.NoError(t, err)
		assert.Equal(t, m.Info().MaxTokens, p.Tokens())
		v, err := m.EmbedPrepared(ctx, p)
		require.NoError(t, err)
		vectors[cut] = v[0]
	}
	assert.Equal(t, vectors[vkbert.TruncateAsOpened], vectors[vkbert.TruncateEnd])
	cats, err := m.Embed(ctx, strings.Repeat("cat ", 5000))
	require.NoError(t, err)
	assert.Equal(t, cats, vectors[vkbert.TruncateStart], "the dog was first")
	assert.NotEqual(t, cats, vectors[vkbert.TruncateEnd])

	other, err := vkbert.Open(ctx, testmodel.Path("tiny", "cls"), vkbert.WithDevice("cpu"))
	require.NoError(t, err)
	defer other.Close()
	p, err := m.PrepareTokens([][]int32{{2, 5, 3}})
	require.NoError(t, err)
	_, err = other.EmbedPrepared(ctx, p)
	require.ErrorIs(t, err, vkbert.ErrInput)
}

// TestPreparedMulti: tokens are counted before they are embedded, masks that queries are filled up with among them.
func TestPreparedMulti(t *testing.T) {
	ctx := t.Context()
	v, err := vkbert.OpenMultiVector(ctx, testmodel.Path("arch", "colbert"), vkbert.WithDevice("cpu"))
	require.NoError(t, err)
	defer v.Close()
	texts := []string{"the cat", "house, of the dog"}
	long := append(texts, strings.Repeat("cat ", 5000))
	for name, way := range map[string]struct {
		prepare  func(context.Context, []string, vkbert.Truncation) (*vkbert.Prepared, error)
		embed    func(context.Context, []string) ([][][]float32, error)
		tokenize func(string) (vkbert.Tokens, error)
	}{
		"query":    {v.PrepareQueries, v.EmbedMultiQueries, v.TokenizeQuery},
		"document": {v.PrepareDocuments, v.EmbedMultiDocuments, v.TokenizeDocument},
	} {
		want, err := way.embed(ctx, texts)
		require.NoError(t, err)
		tokens := 0
		for _, text := range texts {
			one, err := way.tokenize(text)
			require.NoError(t, err)
			tokens += len(one.IDs)
		}
		p, err := way.prepare(ctx, texts, vkbert.TruncateNone)
		require.NoError(t, err)
		assert.Equal(t, tokens, p.Tokens(), name)
		got, err := v.EmbedPrepared(ctx, p)
		require.NoError(t, err)
		assert.Equal(t, want, got, name)
		_, err = way.prepare(ctx, long, vkbert.TruncateNone)
		var tooLong *vkbert.TooLongError
		require.ErrorAs(t, err, &tooLong, name)
		assert.Equal(t, 2, tooLong.Text)
		_, err = way.prepare(ctx, long, vkbert.TruncateAsOpened)
		require.NoError(t, err)
		_, err = way.prepare(ctx, nil, vkbert.TruncateAsOpened)
		require.ErrorIs(t, err, vkbert.ErrInput)
	}
}

// TestTokenVectors: their mean is the vector of a model that takes the mean.
func TestTokenVectors(t *testing.T) {
	ctx := t.Context()
	for _, device := range testmodel.Devices() {
		t.Run(device, func(t *testing.T) {
			m, err := vkbert.Open(ctx, testmodel.Path("tiny", "mean"), vkbert.WithDevice(testmodel.Device(t, device)))
			require.NoError(t, err)
			defer m.Close()
			texts := []string{"the cat", "", "dog of the house"}
			want, err := m.EmbedBatch(ctx, texts)
			require.NoError(t, err)
			p, err := m.Prepare(ctx, texts, vkbert.TruncateAsOpened)
			require.NoError(t, err)
			got, err := m.TokenVectors(ctx, p)
			require.NoError(t, err)
			total := 0
			for i, rows := range got {
				mean := make([]float32, m.Info().Hidden)
				for _, row := range rows {
					require.Len(t, row, m.Info().Hidden)
					for j, x := range row {
						mean[j] += x / float32(len(rows))
					}
				}
				total += len(rows)
				difference, largest := testmodel.MaxDifference(t, want[i], mean)
				assert.LessOrEqual(t, difference, 1e-4*max(1, largest))
			}
			assert.Equal(t, p.Tokens(), total)
		})
	}
}

func TestKindOf(t *testing.T) {
	for path, want := range map[string]vkbert.Kind{"tiny/mean": vkbert.KindEmbedding, "arch/cross_bert": vkbert.KindReranker, "arch/splade": vkbert.KindSparse, "arch/colbert": vkbert.KindMultiVector} {
		kind, err := vkbert.KindOf(t.Context(), testmodel.Path(strings.Split(path, "/")...))
		require.NoError(t, err)
		assert.Equal(t, want, kind)
	}
	_, err := vkbert.KindOf(t.Context(), "/nonexistent")
	require.ErrorIs(t, err, vkbert.ErrNotFound)
}

// TestLocate holds offsets and decoding against the text itself, for the kinds of tokenizer that there are.
func TestLocate(t *testing.T) {
	for _, path := range []string{"tiny/mean", "arch/roberta", "arch/xlm_roberta", "arch/mpnet", "arch/gemma3", "arch/distilbert"} {
		t.Run(path, func(t *testing.T) {
			m, err := vkbert.Open(t.Context(), testmodel.Path(strings.Split(path, "/")...), vkbert.WithDevice("cpu"))
			require.NoError(t, err)
			defer m.Close()
			const text = "the cat, the dog. house"
			tokens, err := m.Locate(t.Context(), text, true)
			require.NoError(t, err)
			var ids []int32
			for _, tok := range tokens {
				ids = append(ids, tok.ID)
				if !tok.Special {
					assert.NotContains(t, tok.Token, "[", "%v", tok)
				}
			}
			encoded, err := m.TokenizeWith(text)
			require.NoError(t, err)
			assert.Equal(t, encoded.IDs, ids)
			got, err := m.Decode(ids, true)
			require.NoError(t, err)
			assert.Equal(t, text, got)
			bare, err := m.Locate(t.Context(), "\x00h\u00e9 the\u2028cat \U0001f600", false)
			require.NoError(t, err)
			last := 0
			for _, tok := range bare {
				assert.False(t, tok.Special)
				assert.LessOrEqual(t, last, tok.Stop)
				last = tok.Stop
			}
			assert.LessOrEqual(t, last, 14)
			_, err = m.Decode([]int32{-1}, true)
			require.ErrorIs(t, err, vkbert.ErrInput)
		})
	}
}
