package vkbert

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/vkbert/vkbert/bert"
	"github.com/vkbert/vkbert/loader"
)

func TestPhases(t *testing.T) {
	dir := os.Getenv("VKBERT_MODEL_DIR")
	t0 := time.Now()
	lap := func(what string) { fmt.Printf("%-12s %6.1f ms\n", what, float64(time.Since(t0).Microseconds())/1000); t0 = time.Now() }
	if os.Getenv("WHOLE") != "" {
		m, err := Open(t.Context(), dir, WithDevice("cpu"))
		lap("whole")
		if err != nil { t.Fatal(err) }
		m.Close()
		lap("close")
		return
	}
	f, err := loader.OpenAs(dir, loader.KindEmbedding)
	if err != nil { t.Fatal(err) }
	lap("files")
	tok, err := loader.OpenTokenizer(f)
	if err != nil { t.Fatal(err) }
	lap("tokenizer")
	e, err := bert.Open(t.Context(), f, bert.Options{Device: "cpu"})
	if err != nil { t.Fatal(err) }
	lap("encoder")
	_, err = e.Embed(t.Context(), []bert.Sequence{{IDs: []int32{101, 1, 2, 3, 4, 5, 6, 7, 102}}})
	if err != nil { t.Fatal(err) }
	lap("probe")
	e.Close(); tok.Close(); f.Close()
}
