package loader

import (
	"encoding/json"
	"fmt"
	"slices"
)

// A packed file holds a model's tensors as its program takes them, not as the
// checkpoint has them: each is there once under a name that lists the stored
// tensors that it is made of, fused, turned, and with what is computed of them
// done, row by row. Opening one streams every tensor straight to the device. How a
// device lays rows out for its kernels differs from one to the next and from
// release to release, and is not part of the file.
//
// Its metadata says so: the format is not one that another library loads, and a
// layout that is not known here is refused.
const (
	PackedFormat = "vkbert"  // at "format"
	PackedLayout = "rows-v1" // at "vkbert.layout"

	packedLayoutKey = "vkbert.layout"
	packedNamesKey  = "vkbert.names" // the names that the checkpoint had, as a JSON list
)

// PackedMetadata is the metadata of a packed file made of tensors of these names.
func PackedMetadata(names []string) (map[string]string, error) {
	list, err := json.Marshal(names)
	return map[string]string{"format": PackedFormat, packedLayoutKey: PackedLayout, packedNamesKey: string(list)}, err
}

// packedNames checks the metadata of a file of PackedFormat and returns the names
// of the checkpoint's tensors.
func packedNames(metadata map[string]string) ([]string, error) {
	if layout := metadata[packedLayoutKey]; layout != PackedLayout {
		return nil, fmt.Errorf("%w: packed weights of layout %.60q; supported: %s; pack the original model again: vkbert convert --packed", ErrUnsupported, layout, PackedLayout)
	}
	v, err := parseJSON([]byte(metadata[packedNamesKey]), 1)
	list, isList := v.([]any)
	if err != nil || !isList {
		return nil, fmt.Errorf("%w: %s: want a list of names", ErrBadHeader, packedNamesKey)
	}
	names := make([]string, len(list))
	for i, v := range list {
		name, isText := v.(string)
		if !isText {
			return nil, fmt.Errorf("%w: %s: want a list of names, got %s in it", ErrBadHeader, packedNamesKey, describe(v))
		}
		names[i] = name
	}
	slices.Sort(names)
	return names, nil
}

// Packed says whether the file is packed ([PackedLayout]), and returns the names,
// sorted, that the checkpoint's tensors had. The slice must not be changed.
func (w *Weights) Packed() (names []string, packed bool) {
	if len(w.files) != 1 {
		return nil, false
	}
	return w.files[0].names, w.files[0].names != nil
}
