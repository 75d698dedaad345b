package loader

import "fmt"

// What package convert shares with this one, so that both have the same idea of
// a path that is inside a model, of a file that is too large, and of a tensor.

// Within returns the real path of the slash-separated name below the model
// directory root. A name or a symbolic link that leads out of it is an ErrPath;
// the blobs of a Hugging Face cache count as inside.
func Within(root, name string) (string, error) { return within(root, name) }

// ReadBounded reads a regular file of at most limit bytes.
func ReadBounded(path string, limit int64) ([]byte, error) { return readBounded(path, limit) }

// HalfToFloat widens an IEEE binary16.
func HalfToFloat(h uint16) float32 { return halfToFloat(h) }

// StreamBytes is [Weights.Stream] for a tensor of any type: fn gets its bytes as
// they lie in the file, len(buf) at a time, which must hold at least one.
func (w *Weights) StreamBytes(t Tensor, buf []byte, fn func(chunk []byte) error) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return fmt.Errorf("weights: %w", ErrClosed)
	}
	own, ok := w.Lookup(t.Name)
	if !ok || len(buf) == 0 {
		return fmt.Errorf("%w: %q of %s: want one of its tensors and a buffer, got a buffer of %d bytes", ErrTensor, t.Name, w.place(), len(buf))
	}
	file := w.files[own.file]
	for done := int64(0); done < own.bytes; {
		chunk := buf[:min(int64(len(buf)), own.bytes-done)]
		at := own.offset + done
		if err := file.read(chunk, at); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		file.mapping.release(at, at+int64(len(chunk)))
		if err := fn(chunk); err != nil {
			return err
		}
		done += int64(len(chunk))
	}
	return nil
}
