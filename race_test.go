//go:build race

package vkbert_test

const raceEnabled = true
