package bert

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/internal/testmodel"
	"github.com/vkbert/vkbert/loader"
)

// Batches of random shapes, in each precision, against the reference. A text's vector does not depend on its neighbours, so that the reference makes each of a
// pool of texts once. VKBERT_BATCHES sets how many batches, VKBERT_SEED where they begin.
func TestRandomBatches(t *testing.T) {
	batches, seed := setting(t, "VKBERT_BATCHES", 24), setting(t, "VKBERT_SEED", 1)
	t.Logf("%d batches, seed %d", batches, seed)
	for _, shape := range []struct{ hidden, layers, heads, inner, texts int }{{96, 3, 3, 200, 96}, {64, 2, 4, 260, 96}, {384, 2, 6, 1536, 24}} {
		random := rand.New(rand.NewPCG(uint64(seed), uint64(shape.hidden)))
		config, err := loader.ParseConfig("random", []byte(bertConfig(shape.hidden, shape.layers, shape.heads, shape.inner)))
		require.NoError(t, err)
		pool := make([]Sequence, shape.texts)
		for i := range pool {
			pool[i] = randomSequence(random, 1+int(255*math.Pow(random.Float64(), 2)))
		}
		want := embedEach(t, config, pool)
		for _, device := range testmodel.Devices() {
			if device == "reference" || strings.Contains(device, "llvmpipe") && shape.texts < 96 {
				continue // the second is slow
			}
			for dtype, bar := range map[string]float64{"f32": 0, "f16": 0.9999, "int8": 0.98} {
				t.Run(fmt.Sprintf("%d/%s/%s", shape.hidden, device, dtype), func(t *testing.T) {
					e := openWide(t, config, Options{Device: testmodel.Device(t, device), DType: dtype})
					defer e.Close()
					least, worst := 1.0, 0.0
					for range max(1, batches/9) {
						chosen := make([]int, 1+int(63*math.Pow(random.Float64(), 3)))
						seqs := make([]Sequence, len(chosen))
						for i := range chosen {
							chosen[i] = random.IntN(len(pool))
							seqs[i] = pool[chosen[i]]
						}
						got, err := e.Embed(context.Background(), seqs)
						require.NoError(t, err)
						for i, n := range chosen {
							cosine, difference := compare(want[n], got[i])
							least, worst = min(least, cosine), max(worst, difference)
						}
					}
					t.Logf("cosine at least 1 - %.2g, difference at most %.2g of the vector's length", 1-least, worst)
					if dtype == "f32" {
						assert.LessOrEqual(t, worst, 2e-6)
					} else {
						assert.GreaterOrEqual(t, least, bar)
					}
				})
			}
		}
	}
}

// openWide is OpenRandom with weights so large that every layer turns the vectors and attention is peaked.
func openWide(t *testing.T, config *loader.Config, o Options) *Encoder {
	p, err := planRandom(config, o)
	require.NoError(t, err)
	p.from.(*randomTensors).width = 0.4
	e, err := p.open(context.Background(), o)
	require.NoError(t, err)
	return e
}

func setting(t *testing.T, name string, otherwise int) int {
	if os.Getenv(name) == "" {
		return otherwise
	}
	n, err := strconv.Atoi(os.Getenv(name))
	require.NoError(t, err)
	return n
}

func randomSequence(random *rand.Rand, tokens int) Sequence {
	s := Sequence{IDs: make([]int32, tokens)}
	for i := range s.IDs {
		s.IDs[i] = random.Int32N(30522)
	}
	return s
}

// embedEach runs the reference, which has one thread, once for each processor.
func embedEach(t *testing.T, config *loader.Config, pool []Sequence) [][]float32 {
	vectors := make([][]float32, len(pool))
	var group sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), 8)
	encoders := make([]*Encoder, workers)
	for w := range encoders {
		encoders[w] = openWide(t, config, Options{Device: "reference"})
		defer encoders[w].Close()
	}
	for w := range workers {
		group.Add(1)
		go func() {
			defer group.Done()
			e := encoders[w]
			for i := w; i < len(pool); i += workers {
				v, err := e.Embed(context.Background(), pool[i:i+1])
				if !assert.NoError(t, err) {
					return
				}
				vectors[i] = v[0]
			}
		}()
	}
	group.Wait()
	require.False(t, t.Failed())
	return vectors
}

// compare gives the cosine, and the greatest difference of a component as a part of want's length.
func compare(want, got []float32) (cosine, difference float64) {
	var dot, a, b float64
	for i := range want {
		x, y := float64(want[i]), float64(got[i])
		dot, a, b = dot+x*y, a+x*x, b+y*y
		difference = max(difference, math.Abs(x-y))
	}
	return dot / math.Sqrt(a*b), difference / math.Sqrt(a)
}
