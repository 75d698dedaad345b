package vkbert_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/internal/testmodel"
)

// Resident memory at its peak while MiniLM is opened and used, less what there was before (on Vulkan: with a device open). In a process of its own, because
// a peak is one of the process.
func TestResidentMemory(t *testing.T) {
	dir := testmodel.MiniLM(t)
	if raceEnabled {
		t.Skip("the race detector has memory of its own")
	}
	for _, device := range testmodel.Devices() {
		if device == "reference" || strings.Contains(device, "llvmpipe") {
			continue // no promise; device memory of a software device is the process's own
		}
		t.Run(device, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run", "^TestMeasureMemory$", "-test.v")
			cmd.Env = append(os.Environ(), "VKBERT_TEST_MEMORY="+device, "VKBERT_MODEL_DIR="+dir)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			found := regexp.MustCompile(`measured: grew ([0-9]+) weights ([0-9]+) tokenizer ([0-9]+)`).FindSubmatch(out)
			require.NotNil(t, found, "%s", out)
			t.Logf("%s", out)
			grew, weights, tokenizer := number(t, found[1]), number(t, found[2]), number(t, found[3])
			limit := weights + 100<<20
			if strings.HasPrefix(device, "vulkan") {
				limit = 64<<20 + tokenizer
			}
			t.Logf("grew by %d MB: weights %d MB, tokenizer %d MB", grew>>20, weights>>20, tokenizer>>20)
			assert.LessOrEqual(t, grew, limit)
		})
	}
}

func number(t *testing.T, digits []byte) int {
	n, err := strconv.Atoi(string(digits))
	require.NoError(t, err)
	return n
}

// statusBytes reads a line of /proc/self/status, such as VmRSS.
func statusBytes(t *testing.T, name string) int {
	data, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	found := regexp.MustCompile(name + `:\s+([0-9]+) kB`).FindSubmatch(data)
	require.NotNil(t, found)
	return number(t, found[1]) << 10
}

func TestMeasureMemory(t *testing.T) {
	device := os.Getenv("VKBERT_TEST_MEMORY")
	if device == "" {
		return // the part of TestResidentMemory that runs in a process of its own
	}
	ctx := context.Background()
	report := func(stage string) int {
		fmt.Printf("%-12s RSS %4d MB = anonymous %4d + file %4d + shared %4d\n", stage, statusBytes(t, "VmRSS")>>20, statusBytes(t, "RssAnon")>>20,
			statusBytes(t, "RssFile")>>20, statusBytes(t, "RssShmem")>>20)
		return statusBytes(t, "VmRSS")
	}
	debug.FreeOSMemory()
	before := report("before")
	if strings.HasPrefix(device, "vulkan") { // what the driver and its compiler take for themselves is not ours to bound
		_, err := vkbert.Devices()
		require.NoError(t, err)
		report("devices")
		tiny, err := vkbert.Open(ctx, testmodel.Path("tiny", "mean"), vkbert.WithDevice(device))
		require.NoError(t, err)
		require.NoError(t, tiny.Close())
		debug.FreeOSMemory()
		before = report("driver")
	}
	require.NoError(t, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0), "reset of the peak")
	m, err := vkbert.Open(ctx, testmodel.MiniLM(t), vkbert.WithDevice(device))
	require.NoError(t, err)
	defer m.Close()
	report("open")
	golden := testmodel.Read(t, testmodel.Path("golden", "minilm.json"))
	_, err = m.EmbedBatch(ctx, golden.Texts)
	require.NoError(t, err)
	report("used")
	fmt.Printf("measured: grew %d weights %d tokenizer %d\n", statusBytes(t, "VmHWM")-before, m.Info().WeightBytes, tokenizerBytes(t))
}

// tokenizerBytes is what a tokenizer alone takes.
func tokenizerBytes(t *testing.T) int {
	debug.FreeOSMemory()
	before := statusBytes(t, "VmRSS")
	close := testmodel.OpenTokenizer(t, testmodel.MiniLM(t))
	grew := statusBytes(t, "VmRSS") - before
	close()
	return max(grew, 0)
}
