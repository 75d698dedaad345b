package vkbert

import (
	"context"
	"sync"
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

// Two models on one device: what one does while the other is at work changes nothing, nor does it that the other is closed.
func TestTwoModelsOnOneDevice(t *testing.T) {
	for _, device := range testmodel.Devices() {
		t.Run(device, func(t *testing.T) {
			device := testmodel.Device(t, device)
			ctx := context.Background()
			open := func(model string) *Model {
				m, err := Open(ctx, testmodel.Path("tiny", model), WithDevice(device), WithDType("f32"))
				require.NoError(t, err)
				t.Cleanup(func() { assert.NoError(t, m.Close()) })
				return m
			}
			models := []*Model{open("mean"), open("cls")}
			seqs := [][]int32{{1, 5, 2}, {1, 7, 9, 8, 2}}
			want := make([][][]float32, len(models))
			for i, m := range models {
				var err error
				want[i], err = m.EmbedTokens(ctx, seqs)
				require.NoError(t, err)
			}
			assert.NotEqual(t, want[0], want[1])
			var group sync.WaitGroup
			for i, m := range models {
				group.Add(1)
				go func() {
					defer group.Done()
					for range 20 {
						got, err := m.EmbedTokens(ctx, seqs)
						assert.NoError(t, err)
						assert.Equal(t, want[i], got, "model %d", i)
					}
				}()
			}
			group.Wait()
			require.NoError(t, models[0].Close())
			got, err := models[1].EmbedTokens(ctx, seqs)
			require.NoError(t, err)
			assert.Equal(t, want[1], got)
		})
	}
}
