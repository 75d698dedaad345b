package server

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"sync"
)

// output writes a response of JSON piece by piece. One that fits into its buffer goes out at once, with its length; larger ones are never held whole.
type output struct {
	w       http.ResponseWriter
	buf     []byte
	flushed bool
	err     error
}

const outputSize = 64 << 10

var outputs = sync.Pool{New: func() any { return &output{buf: make([]byte, 0, outputSize+4<<10)} }}

func newOutput(w http.ResponseWriter) *output {
	o := outputs.Get().(*output)
	o.w, o.buf, o.flushed, o.err = w, o.buf[:0], false, nil
	return o
}

func (o *output) raw(s string) *output {
	o.buf = append(o.buf, s...)
	return o
}

func (o *output) int(n int) *output {
	o.buf = strconv.AppendInt(o.buf, int64(n), 10)
	return o
}

func (o *output) float(x float32) *output {
	o.buf = strconv.AppendFloat(o.buf, float64(x), 'g', -1, 32)
	return o
}

// value is anything that is small.
func (o *output) value(v any) *output {
	data, err := json.Marshal(v)
	if err != nil {
		o.err = err
		return o
	}
	o.buf = append(o.buf, data...)
	o.flush()
	return o
}

// vector is a list of numbers.
func (o *output) vector(v []float32) *output {
	o.raw("[")
	for i, x := range v {
		if i > 0 {
			o.raw(",")
		}
		o.float(x)
		if i%1024 == 1023 {
			o.flush()
		}
	}
	o.raw("]")
	o.flush()
	return o
}

// vectors is a list of vectors.
func (o *output) vectors(list [][]float32) *output {
	o.raw("[")
	for i, v := range list {
		if i > 0 {
			o.raw(",")
		}
		o.vector(v)
	}
	return o.raw("]")
}

// base64 is the little-endian bytes of a vector.
func (o *output) base64(v []float32) *output {
	o.raw(`"`)
	const part = 768 // values, whose bytes fill groups of base64
	var bytes [4 * part]byte
	for len(v) > 0 {
		n := min(part, len(v))
		for i, x := range v[:n] {
			binary.LittleEndian.PutUint32(bytes[4*i:], math.Float32bits(x))
		}
		o.buf = base64.StdEncoding.AppendEncode(o.buf, bytes[:4*n])
		v = v[n:]
		o.flush()
	}
	return o.raw(`"`)
}

// flush sends the buffer if it is full.
func (o *output) flush() {
	if len(o.buf) < outputSize {
		return
	}
	if o.err == nil {
		_, o.err = o.w.Write(o.buf)
	}
	o.flushed = true
	o.buf = o.buf[:0]
}

// end sends what is left.
func (o *output) end() error {
	if !o.flushed {
		o.w.Header().Set("Content-Length", strconv.Itoa(len(o.buf)))
	}
	err := o.err
	if err == nil {
		_, err = o.w.Write(o.buf)
	}
	o.w = nil
	outputs.Put(o)
	return err
}
