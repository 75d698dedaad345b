package loader

import "errors"

// Reopen maps the files again after Close. It fails with [ErrChanged] unless they are the ones that were open before: same size, time and header.
func (w *Weights) Reopen() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		return nil
	}
	files := make([]*weightsFile, len(w.files))
	for i, old := range w.files {
		file, err := openWeightsFile(old.print.Path)
		if err == nil {
			files[i] = file
			err = old.print.compare(file.print)
		} else {
			err = errors.Join(ErrChanged, err)
		}
		if err != nil {
			for _, f := range files[:i+1] {
				if f != nil {
					err = errors.Join(err, f.close())
				}
			}
			return err
		}
		file.tensors = nil // kept in w
	}
	w.files, w.closed = files, false
	return nil
}
