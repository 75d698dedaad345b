package bert

import (
	"math"
	"runtime"
	"sync"
)

// What is computed on the host when a model is loaded: small matrices, once.

// layerNormRows normalises rows of len(weight) values.
func layerNormRows(x, weight, bias []float32, eps float64) []float32 {
	width := len(weight)
	out := make([]float32, len(x))
	for first := 0; first < len(x); first += width {
		var mean, variance float64
		for _, v := range x[first : first+width] {
			mean += float64(v) / float64(width)
		}
		for _, v := range x[first : first+width] {
			variance += (float64(v) - mean) * (float64(v) - mean) / float64(width)
		}
		scale := 1 / math.Sqrt(variance+eps)
		for i := range width {
			out[first+i] = float32((float64(x[first+i])-mean)*scale)*weight[i] + bias[i]
		}
	}
	return out
}

// project is x·Wᵀ + bias for x [rows, in], W [out, in], on all processors.
func project(x, w, bias []float32) []float32 {
	outputs := len(bias)
	inputs := len(w) / outputs
	rows := len(x) / inputs
	y := make([]float32, rows*outputs)
	var group sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for n := range workers {
		group.Add(1)
		go func() {
			defer group.Done()
			for o := n; o < outputs; o += workers {
				row := w[o*inputs : (o+1)*inputs]
				for r := range rows {
					sum := bias[o]
					in := x[r*inputs : (r+1)*inputs]
					for i, v := range row {
						sum += v * in[i]
					}
					y[r*outputs+o] = sum
				}
			}
		}()
	}
	group.Wait()
	return y
}
