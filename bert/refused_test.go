package bert

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/internal/testmodel"
	"github.com/vkbert/vkbert/loader"
)

// copied is a copy of a directory of testdata/arch that may be changed.
func copied(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(testmodel.Path("arch", name))))
	return dir
}

// openDir opens a model directory on the reference, and closes what it opened.
func openDir(t *testing.T, dir string) error {
	t.Helper()
	m, err := loader.Open(dir)
	require.NoError(t, err)
	defer m.Close()
	e, err := Open(context.Background(), m, Options{Device: "reference"})
	if err == nil {
		e.Close()
	}
	return err
}

// f32Tensor is a tensor of a file that a test writes.
type f32Tensor struct {
	name   string
	shape  []int
	values []float32
}

// writeTensors makes them the weights of a model directory.
func writeTensors(t *testing.T, dir string, tensors ...f32Tensor) {
	t.Helper()
	header, data := map[string]any{}, []byte(nil)
	for _, x := range tensors {
		first := len(data)
		data = append(data, fromFloat32(x.values)...)
		header[x.name] = map[string]any{"dtype": "F32", "shape": x.shape, "data_offsets": []int{first, len(data)}}
	}
	text, err := json.Marshal(header)
	require.NoError(t, err)
	file := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "model.safetensors"), append(file, data...), 0o600))
}

// A mapping may name the rows of the table alone.
func TestStaticMapping(t *testing.T) {
	dir := copied(t, "static_model2vec")
	nan := float32(math.NaN())
	for _, c := range []struct {
		row  float32
		good bool
	}{{0, true}, {1, true}, {2, false}, {-1, false}, {nan, false}, {-nan, false}, {float32(math.Inf(1)), false}, {float32(math.Inf(-1)), false}} {
		for _, width := range []int{3, 4} {
			writeTensors(t, dir, f32Tensor{"embeddings", []int{2, width}, make([]float32, 2*width)}, f32Tensor{"mapping", []int{3}, []float32{0, c.row, 1}})
			err := openDir(t, dir)
			if c.good {
				require.NoError(t, err, c.row)
				continue
			}
			require.ErrorIs(t, err, loader.ErrTensor, c.row)
			for _, says := range []string{`"mapping"`, "element 1", `"embeddings"`, "0 to 1"} {
				assert.ErrorContains(t, err, says)
			}
		}
	}
}
