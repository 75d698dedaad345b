package vkbert

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/internal/testmodel"
)

// One model on two devices: whichever a batch goes to, the vectors are the same but for the last digits.
func TestSeveralDevices(t *testing.T) {
	software := testmodel.Device(t, "vulkan:llvmpipe")
	ctx := context.Background()
	open := func(device string) *Model {
		m, err := Open(ctx, testmodel.Path("tiny", "mean"), WithDevice(device), WithDType("f32"))
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, m.Close()) })
		return m
	}
	one, both := open("cpu"), open("cpu, "+software)
	require.Len(t, both.encoder.Info().Replicas, 2)
	require.NoError(t, both.HealthCheck(ctx))
	for i := range 20 {
		seqs := [][]int32{{1, int32(5 + i), 2}, {1, 7, int32(9 + i), 8, 2}}
		want, err := one.EmbedTokens(ctx, seqs)
		require.NoError(t, err)
		got, err := both.EmbedTokens(ctx, seqs)
		require.NoError(t, err)
		for j := range want {
			assert.InDeltaSlice(t, want[j], got[j], 2e-6)
		}
	}
	_, err := Open(ctx, testmodel.Path("tiny", "mean"), WithDevice("cpu,cpu"))
	assert.ErrorContains(t, err, "twice")
}
