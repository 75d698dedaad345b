package vkbert_test

import (
	"testing"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/internal/testmodel"
)

// BenchmarkOpen opens all-MiniLM-L6-v2 on the CPU, from the disk cache.
func BenchmarkOpen(b *testing.B) { benchmarkOpen(b, testmodel.MiniLM(b)) }

func benchmarkOpen(b *testing.B, dir string) {
	for b.Loop() {
		m, err := vkbert.Open(b.Context(), dir, vkbert.WithDevice("cpu"))
		if err != nil {
			b.Fatal(err)
		}
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
