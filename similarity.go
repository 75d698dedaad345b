package vkbert

import (
	"cmp"
	"math"
	"slices"
)

// Dot is the dot product of two vectors of the same length: of unit vectors, the cosine of the angle between them. It panics if the lengths differ.
func Dot(a, b []float32) float32 {
	if len(a) != len(b) {
		panic("vkbert: vectors of different lengths")
	}
	var sum float64
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return float32(sum)
}

// Cosine is the cosine of the angle between two vectors of the same length, in [-1, 1]; 0 if one of them is zero. It panics if the lengths differ.
func Cosine(a, b []float32) float32 {
	if len(a) != len(b) {
		panic("vkbert: vectors of different lengths")
	}
	var ab, aa, bb float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return float32(max(-1, min(1, ab/math.Sqrt(aa*bb))))
}

// Normalize scales a vector to unit length, in place, and returns it. A zero vector stays zero.
func Normalize(v []float32) []float32 {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if sum == 0 {
		return v
	}
	scale := 1 / math.Sqrt(sum)
	for i := range v {
		v[i] = float32(float64(v[i]) * scale)
	}
	return v
}

// Match is one result of [TopK].
type Match struct {
	Index int     // of the document
	Score float32 // its cosine with the query
}

// TopK returns the k documents that are most similar to the query by [Cosine], best first; equal scores stay in the order of the documents. k < 0, or
// more than there are, means all.
func TopK(query []float32, documents [][]float32, k int) []Match {
	matches := make([]Match, len(documents))
	for i, d := range documents {
		matches[i] = Match{Index: i, Score: Cosine(query, d)}
	}
	slices.SortStableFunc(matches, func(a, b Match) int { return cmp.Compare(b.Score, a.Score) })
	if k >= 0 && k < len(matches) {
		matches = matches[:k]
	}
	return matches
}
