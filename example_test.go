package vkbert_test

import (
	"context"
	"fmt"
	"log"

	"github.com/vkbert/vkbert"
)

// The examples run on a tiny model with random weights, so that they need no download; a real one is opened by its Hugging Face id.
const exampleModel = "testdata/tiny/normalize"

func ExampleOpen() {
	ctx := context.Background()
	m, err := vkbert.Open(ctx, exampleModel, vkbert.WithDevice("cpu"))
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	v, err := m.Embed(ctx, "one text")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.ModelName(), len(v), m.Dimensions())
	// Output: normalize 60 60
}

func ExampleModel_EmbedDocuments() {
	ctx := context.Background()
	m, err := vkbert.Open(ctx, exampleModel, vkbert.WithDevice("cpu"))
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	documents := []string{"the cat sat", "a dog ran", "the cat sat on it"}
	vectors, err := m.EmbedDocuments(ctx, documents)
	if err != nil {
		log.Fatal(err)
	}
	query, err := m.EmbedQuery(ctx, "the cat sat")
	if err != nil {
		log.Fatal(err)
	}
	best := vkbert.TopK(query, vectors, 1)[0]
	fmt.Printf("%s %.2f\n", documents[best.Index], best.Score)
	// Output: the cat sat 1.00
}

func ExampleModel_EmbedTokens() {
	ctx := context.Background()
	m, err := vkbert.Open(ctx, "random:minilm-l6", vkbert.WithDevice("cpu"))
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	vectors, err := m.EmbedTokens(ctx, [][]int32{{101, 7592, 102}, {101, 2088, 999, 102}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(vectors), len(vectors[0]))
	// Output: 2 384
}

func ExampleModel_Tokenize() {
	m, err := vkbert.Open(context.Background(), exampleModel, vkbert.WithDevice("cpu"))
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	tokens, err := m.Tokenize("abc", "")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(tokens.Tokens[0], tokens.Tokens[len(tokens.Tokens)-1])
	// Output: [CLS] [SEP]
}

func ExampleDevices() {
	devices, err := vkbert.Devices()
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range devices {
		if d.Selector == "cpu" {
			fmt.Println(d.Kind, d.Usable)
		}
	}
	// Output: CPU true
}

func ExampleReranker_Rerank() {
	ctx := context.Background()
	r, err := vkbert.OpenReranker(ctx, "testdata/arch/cross_bert", vkbert.WithDevice("cpu"))
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()

	documents := []string{"the cat sat", "a dog ran"}
	ranked, err := r.Rerank(ctx, "where is the cat", documents)
	if err != nil {
		log.Fatal(err)
	}
	for _, match := range ranked {
		fmt.Println(len(documents[match.Index]) > 0, match.Score >= ranked[len(ranked)-1].Score)
	}
	// Output:
	// true true
	// true true
}

func ExampleSparseModel_EmbedSparseDocuments() {
	ctx := context.Background()
	m, err := vkbert.OpenSparse(ctx, "testdata/arch/splade_routed", vkbert.WithDevice("cpu"))
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	documents, err := m.EmbedSparseDocuments(ctx, []string{"the cat sat"})
	if err != nil {
		log.Fatal(err)
	}
	queries, err := m.EmbedSparseQueries(ctx, []string{"cat"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(documents[0].Values) < m.Dimensions(), vkbert.SparseDot(queries[0], documents[0]) >= 0)
	// Output: true true
}

func ExampleMultiVectorModel_EmbedMultiQueries() {
	ctx := context.Background()
	m, err := vkbert.OpenMultiVector(ctx, "testdata/arch/colbert", vkbert.WithDevice("cpu"))
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	documents, err := m.EmbedMultiDocuments(ctx, []string{"the cat sat", "a dog ran"})
	if err != nil {
		log.Fatal(err)
	}
	queries, err := m.EmbedMultiQueries(ctx, []string{"where is the cat"})
	if err != nil {
		log.Fatal(err)
	}
	score := vkbert.MaxSim(queries[0], documents[0])
	fmt.Println(len(queries[0]), len(documents[0][0]), score <= float32(len(queries[0])))
	// Output: 12 8 true
}

func ExampleModel_EmbedWith() {
	ctx := context.Background()
	m, err := vkbert.Open(ctx, "testdata/arch/jina_v3", vkbert.WithDevice("cpu"))
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	vectors, err := m.EmbedWith(ctx, []string{"one text", "another"}, vkbert.WithTask("text-matching"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(vectors), len(vectors[0]) == m.Dimensions())
	// Output: 2 true
}
