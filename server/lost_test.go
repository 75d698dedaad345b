//go:build cgo

package server

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/internal/lostdevice"
	"github.com/vkbert/vkbert/internal/testmodel"
)

// TestDeviceLost: the device is lost under load. Requests get a 503 until it is there again, and then the same vectors as before.
func TestDeviceLost(t *testing.T) {
	device := ""
	for _, d := range testmodel.Devices() {
		if d != "cpu" && d != "reference" {
			device = testmodel.Device(t, d)
		}
	}
	if device == "" {
		testmodel.Missing(t, "no Vulkan device to lose")
	}
	s := start(t, Options{}, Model{Name: "m", Path: testmodel.Path("tiny", "normalize"), Options: []vkbert.Option{vkbert.WithDevice(device)}})
	const request = `{"model":"m","input":["the cat","who is the dog?"]}`
	want := s.post("/v1/embeddings", request)
	vectors := func(a answer) (all [][]float32) {
		for _, one := range a.good(t).(map[string]any)["data"].([]any) {
			all = append(all, floats(t, one.(map[string]any)["embedding"]))
		}
		return all
	}
	expected := vectors(want)

	var wait sync.WaitGroup
	end := make(chan struct{})
	answers := make(chan answer, 1<<16)
	const clients = 8
	for range clients {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for {
				select {
				case <-end:
					return
				default:
				}
				a := s.post("/v1/embeddings", request)
				answers <- a
				if a.status != http.StatusOK {
					time.Sleep(5 * time.Millisecond) // not a client's manners, but some
				}
			}
		}()
	}
	count := map[int]int{}
	next := func() (a answer) {
		select {
		case a = <-answers:
		case <-time.After(20 * time.Second):
			require.Fail(t, "no answer")
		}
		count[a.status]++
		switch a.status {
		case http.StatusOK:
			nearAll(t, expected, vectors(a)) // batches of other sizes may have other kernels
		default:
			s.bad(http.StatusServiceUnavailable, openaiError(t, a, "", "service_unavailable"), "while it is away")
			assert.Equal(t, "1", a.header.Get("Retry-After"))
		}
		return a
	}
	for range 50 {
		assert.Equal(t, http.StatusOK, next().status)
	}

	back := lostdevice.Lose()
	defer func() { // also where the test fails
		back()
		select {
		case <-end:
		default:
			close(end)
		}
		wait.Wait()
	}()
	deadline := time.Now().Add(20 * time.Second)
	for next().status == http.StatusOK {
		require.True(t, time.Now().Before(deadline), "nothing was lost")
	}
	health := s.do("GET", "/health", "")
	assert.Equal(t, http.StatusServiceUnavailable, health.status)
	states := keys(t, decode(t, health.body), "status", "error", "error_type", "models")
	assert.Equal(t, "degraded", states["status"])
	assert.Equal(t, "degraded", keys(t, states["models"].(map[string]any)["m"], "state", "error")["state"])
	assert.Equal(t, http.StatusServiceUnavailable, s.do("GET", "/.well-known/ready", "").status)
	assert.Contains(t, s.do("GET", "/api/status", "").body, `"state":"degraded"`)
	late := 0 // answers of before that were handed on late; those that queued behind the lost batch wait for the new device
	for range 20 + clients {
		if next().status == http.StatusOK {
			late++
		}
	}
	assert.LessOrEqual(t, late, clients)
	for path, request := range map[string]string{"/embed": `{"inputs":"a"}`, "/api/embed": `{"model":"m","input":"a"}`, "/vectors": `{"text":"a"}`} {
		a := s.post(path, request)
		assert.Equal(t, http.StatusServiceUnavailable, a.status, path)
		assert.Equal(t, "1", a.header.Get("Retry-After"))
		formed(t, path, a)
	}

	back()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		health = s.do("GET", "/health", "")
		if health.status == http.StatusOK {
			break
		}
		require.True(t, time.Now().Before(deadline), "%s", health.body)
	}
	close(end)
	wait.Wait()
	close(answers)
	after := count[http.StatusOK]
	for len(answers) > 0 {
		next()
	}
	assert.Greater(t, count[http.StatusOK], after, "the load goes on")
	assert.Equal(t, want.body, s.post("/v1/embeddings", request).body, "by itself, as before: to the last bit")
	assert.Equal(t, http.StatusNoContent, s.do("GET", "/.well-known/ready", "").status)
}
