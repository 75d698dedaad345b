package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// compareHeaders says which headers in dir differ from headers, or are stale.
func compareHeaders(dir string, headers map[string][]byte, stale []string) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		path := filepath.Join(dir, name)
		have, err := os.ReadFile(path)
		if err != nil {
			errs = append(errs, err)
		} else if !bytes.Equal(have, headers[name]) {
			errs = append(errs, fmt.Errorf("%s: not what its shader gives", path))
		}
	}
	for _, path := range stale {
		errs = append(errs, fmt.Errorf("%s: no shader makes it", path))
	}
	if len(errs) > 0 {
		errs = append(errs, errors.New("run make shaders"))
	}
	return errors.Join(errs...)
}

// writeHeaders writes the headers that differ, so that nothing else is built again, and removes the stale ones.
func writeHeaders(dir string, headers map[string][]byte, stale []string) (written int, err error) {
	for name, want := range headers {
		path := filepath.Join(dir, name)
		have, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return written, err
		}
		if err == nil && bytes.Equal(have, want) {
			continue
		}
		if err := os.WriteFile(path, want, 0o644); err != nil {
			return written, err
		}
		written++
	}
	for _, path := range stale {
		if err := os.Remove(path); err != nil {
			return written, err
		}
	}
	return written, nil
}
