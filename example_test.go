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
