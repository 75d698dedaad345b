package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/internal/testmodel"
)

func TestRerank(t *testing.T) {
	model := testmodel.Path("arch", "cross_xlm_roberta")
	var golden struct {
		Pairs  [][2]string
		Scores [][]float32
	}
	data, err := os.ReadFile(testmodel.Path("arch", "cross_xlm_roberta", "golden.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &golden))
	query := golden.Pairs[2][0]
	args := []string{"rerank", "-m", model, "--device", "cpu", query, golden.Pairs[2][1], "something else", "a third"}
	var ranked []struct {
		Index int
		Score float32
		Text  string
	}
	require.NoError(t, json.Unmarshal([]byte(good(t, "", append(args, "--json")...)), &ranked))
	require.Len(t, ranked, 3)
	for i, r := range ranked {
		assert.Equal(t, args[6+r.Index], r.Text)
		if i > 0 {
			assert.GreaterOrEqual(t, ranked[i-1].Score, r.Score)
		}
		if r.Index == 0 {
			assert.InDelta(t, golden.Scores[2][0], r.Score, 1e-5)
		}
	}
	lines := strings.Split(strings.TrimSpace(good(t, "", args...)), "\n")
	require.Len(t, lines, 3)
	assert.True(t, strings.HasPrefix(lines[0], fmt.Sprintf("%.4f\t", ranked[0].Score)), lines[0])
	assert.Equal(t, lines[0]+"\n", good(t, "", append(args, "--top", "1")...))
	assert.Equal(t, strings.Join(lines, "\n")+"\n", good(t, strings.Join(args[6:], "\n")+"\n", args[:6]...), "texts of standard input")

	raw := good(t, "", append(args, "--raw", "--top", "1")...)
	assert.NotEqual(t, lines[0]+"\n", raw, "without the sigmoid")
}

func TestRerankSeveralLabels(t *testing.T) {
	out := good(t, "", "rerank", "-m", testmodel.Path("arch", "cross_roberta"), "--device", "cpu", "a", "b", "c")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 2)
	assert.Regexp(t, `^(-?[0-9.]+\t){3}b$`, lines[0])
	assert.Regexp(t, `^(-?[0-9.]+\t){3}c$`, lines[1])
	assert.Contains(t, good(t, "", "rerank", "-m", testmodel.Path("arch", "cross_roberta"), "--device", "cpu", "--json", "a", "b"), `"LABEL_2"`)
}

func TestRerankRefuses(t *testing.T) {
	vkb(t, "", "rerank", "-m", tiny("mean"), "a", "b").bad(t, exitFailed, "SentenceTransformer, which vkbert.Open opens")
	vkb(t, "", "embed", "-m", testmodel.Path("arch", "cross_bert"), "a").bad(t, exitFailed, "CrossEncoder, which vkbert.OpenReranker opens")
	vkb(t, "", "rerank", "-m", tiny("mean"), "--top", "-1", "a", "b").bad(t, exitUsage, "--top")
	vkb(t, "", "rerank", "-m", tiny("mean"), "a").bad(t, exitFailed, "no texts in standard input")
}

func TestTask(t *testing.T) {
	model := testmodel.Path("arch", "jina_v3")
	embed := func(args ...string) string {
		return good(t, "", append([]string{"embed", "-m", model, "--device", "cpu", "some text"}, args...)...)
	}
	assert.NotEqual(t, embed(), embed("--task", "separation"))
	assert.Equal(t, embed("--query"), embed("--task", "retrieval.query"))
	vkb(t, "", "embed", "-m", model, "--task", "sorting", "a").bad(t, exitFailed, "text-matching")
}
