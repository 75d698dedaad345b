package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestBenchRefusesNumbersBeyondMemory(t *testing.T) {
	const huge = "9223372036854775807"
	lengths := write(t, "lengths", "3\n99999999999999\n")
	for name, c := range map[string]struct {
		status int
		says   string
		args   []string
	}{
		"batch":    {exitUsage, "--batch " + huge + ": want at most 16777216", []string{"--batch", huge, "--tokens", "1"}},
		"per call": {exitUsage, "--per-call " + huge, []string{"--per-call", huge}},
		"beside":   {exitUsage, "--beside " + huge, []string{"--beside", huge}},
		"tokens":   {exitUsage, "--tokens " + huge, []string{"--tokens", huge}},
		"lengths":  {exitFailed, lengths + ": 99999999999999: the model takes at most 2048", []string{"--lengths", lengths}},
	} {
		t.Run(name, func(t *testing.T) {
			vkb(t, "", append([]string{"bench", "-m", tiny("mean"), "--device", "cpu", "--runs", "1"}, c.args...)...).bad(t, c.status, c.says)
		})
	}
}

func TestBenchCallsOfMoreTextsThanThereAre(t *testing.T) {
	out := good(t, "", "bench", "-m", tiny("mean"), "--device", "cpu", "--runs", "1", "--batch", "2", "--tokens", "3", "--per-call", "16777216", "--json")
	assert.Contains(t, out, `"per_call":2,`)
}
