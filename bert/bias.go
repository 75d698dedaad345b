package bert

import (
	"math"

	"github.com/vkbert/vkbert/cgo"
)

// bucketBias spreads T5's bucketed bias, stored [stored buckets, heads], over distances: [heads, 2·reach + 1]. From the greatest distance on all have the
// last bucket, so that a table of that reach is exact.
func (b *builder) bucketBias(name string, heads uint32, stored, buckets, reach int) uint32 {
	t := cgo.Tensor{Rows: heads, Cols: uint32(2*reach + 1), Layout: cgo.Table, DType: cgo.F32}
	return b.computed(t, name, []need{{name, []int{stored, int(heads)}}}, func(needs [][]float32) []float32 {
		out := make([]float32, 0, t.Rows*t.Cols)
		for h := range int(heads) {
			for d := -reach; d <= reach; d++ {
				out = append(out, needs[0][relativeBucket(d, buckets, reach)*int(heads)+h])
			}
		}
		return out
	})
}

// relativeBucket is the bucket of key − query in both directions (Raffel et al. 2020, arXiv:1910.10683; transformers, T5Attention._relative_position_bucket
// and MPNetEncoder.relative_position_bucket): half of the buckets for keys behind the query, and of each half one half for exact distances, the
// rest logarithmic up to the greatest distance, which is beyond the exact ones. In f32, as there.
func relativeBucket(distance, buckets, greatest int) int {
	half := buckets / 2
	bucket := 0
	if distance > 0 {
		bucket = half
	}
	n := max(distance, -distance)
	exact := exactDistances(buckets)
	if n < exact {
		return bucket + n
	}
	ratio := float32(math.Log(float64(float32(n)/float32(exact)))) / float32(math.Log(float64(greatest)/float64(exact)))
	return bucket + min(half-1, exact+int(ratio*float32(half-exact)))
}

// exactDistances is how many distances, from 0 on, have a bucket each in a direction.
func exactDistances(buckets int) int { return buckets / 2 / 2 }

// alibiSlopes are those of Press et al. 2021 (arXiv:2108.12409): a geometric series for a power of two; for other counts that of the power below, and
// every second slope of the next one.
func (b *builder) alibiSlopes(heads uint32) uint32 {
	t := cgo.Tensor{Rows: 1, Cols: heads, Layout: cgo.Vector, DType: cgo.F32}
	return b.computed(t, "ALiBi slopes", nil, func([][]float32) []float32 {
		out := make([]float32, heads)
		power := 1
		for power*2 <= int(heads) {
			power *= 2
		}
		for k := range out {
			if k < power {
				out[k] = slope(k, power)
			} else {
				out[k] = slope(2*(k-power), 2*power)
			}
		}
		return out
	})
}

func slope(k, heads int) float32 { return float32(math.Exp2(-8 * float64(k+1) / float64(heads))) }
