package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
)

// vectorWriter writes vectors in one of the formats. write may be called any number of times, close once, after the last.
type vectorWriter interface {
	write(vectors [][]float32) error
	close() error
}

// newVectorWriter returns the writer of a format for vectors of this many dimensions; count is how many come, or -1.
func newVectorWriter(format string, out *output, dimensions, count int) (vectorWriter, error) {
	switch format {
	case "npy":
		return newNPY(out, dimensions, count)
	case "csv":
		return &lineWriter{out: bufio.NewWriterSize(out, 64<<10), line: appendCSV}, nil
	}
	return &lineWriter{out: bufio.NewWriterSize(out, 64<<10), line: appendJSON}, nil
}

// lineWriter writes a line a vector.
type lineWriter struct {
	out    *bufio.Writer
	line   func(buffer []byte, index int, v []float32) []byte
	index  int
	buffer []byte
}

func (w *lineWriter) write(vectors [][]float32) error {
	for _, v := range vectors {
		w.buffer = append(w.line(w.buffer[:0], w.index, v), '\n')
		w.index++
		if _, err := w.out.Write(w.buffer); err != nil {
			return err
		}
	}
	return w.out.Flush()
}

func (w *lineWriter) close() error { return nil }

func appendJSON(b []byte, index int, v []float32) []byte {
	b = append(b, `{"index":`...)
	b = strconv.AppendInt(b, int64(index), 10)
	b = append(b, `,"embedding":[`...)
	return append(appendCSV(b, index, v), "]}"...)
}

// appendCSV writes each value with the fewest digits that bring it back.
func appendCSV(b []byte, _ int, v []float32) []byte {
	for i, x := range v {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, float64(x), 'g', -1, 32)
	}
	return b
}

// npy writes NumPy's format 1.0: a matrix of little-endian float32, a row a vector.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
//
// The header says how many rows follow. Where that is not known before, the matrix goes to a file, the output itself if it is one, and the header is put right
// at the end.
type npy struct {
	out        *output
	to         *bufio.Writer
	file       *os.File // that gets its header at the end; nil if the header was right from the start
	dimensions int
	rows       int
	buffer     []byte
}

func newNPY(out *output, dimensions, count int) (_ *npy, err error) {
	w := &npy{out: out, dimensions: dimensions}
	target := io.Writer(out)
	if count < 0 {
		if w.file = out.file; out.path == "" {
			if w.file, err = out.temporary(); err != nil {
				return nil, err
			}
		}
		target = w.file
	}
	w.to = bufio.NewWriterSize(target, 64<<10)
	_, err = w.to.Write(npyHeader(max(count, 0), dimensions))
	return w, err
}

// npyHeader is always of the same length.
func npyHeader(rows, dimensions int) []byte {
	const length = 128 // a multiple of 64, with room for any two numbers
	h := make([]byte, 0, length)
	h = append(h, "\x93NUMPY\x01\x00"...)
	h = binary.LittleEndian.AppendUint16(h, length-10)
	h = fmt.Appendf(h, "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", rows, dimensions)
	for len(h) < length-1 {
		h = append(h, ' ')
	}
	return append(h, '\n')
}

func (w *npy) write(vectors [][]float32) error {
	for _, v := range vectors {
		w.buffer = w.buffer[:0]
		for _, x := range v {
			w.buffer = binary.LittleEndian.AppendUint32(w.buffer, math.Float32bits(x))
		}
		if _, err := w.to.Write(w.buffer); err != nil {
			return err
		}
		w.rows++
	}
	return nil
}

func (w *npy) close() error {
	if err := w.to.Flush(); err != nil || w.file == nil {
		return err
	}
	if _, err := w.file.WriteAt(npyHeader(w.rows, w.dimensions), 0); err != nil {
		return err
	}
	if w.file == w.out.file {
		return nil
	}
	if _, err := w.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := io.Copy(w.out.Writer, w.file)
	return err
}
