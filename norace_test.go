//go:build !race

package vkbert_test

const raceEnabled = false
