package server

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// statusModel is a model as /api/status tells of it.
type statusModel struct {
	Name         string     `json:"name"`
	Model        string     `json:"model"`
	Kind         string     `json:"kind"`
	State        string     `json:"state"`
	Error        string     `json:"error"`
	Architecture string     `json:"architecture"`
	Dimensions   int        `json:"dimensions"`
	MaxTokens    int        `json:"max_tokens"`
	DType        string     `json:"dtype"`
	Device       string     `json:"device"`
	DeviceKind   string     `json:"device_kind"`
	Prompts      []string   `json:"prompts"`
	Labels       []string   `json:"labels"`
	WeightBytes  uint64     `json:"weight_bytes"`
	ArenaBytes   uint64     `json:"arena_bytes"`
	HostBytes    uint64     `json:"host_bytes"`
	Load         statusLoad `json:"load"`
}

type statusLoad struct {
	WaitingCalls    int     `json:"waiting_calls"`
	QueuedTokens    int     `json:"queued_tokens"`
	BatchTokens     int     `json:"batch_tokens"`
	BatchFill       float64 `json:"batch_fill"`
	Batches         uint64  `json:"batches"`
	Sequences       uint64  `json:"sequences"`
	Tokens          uint64  `json:"tokens"`
	TextsPerSecond  float64 `json:"texts_per_second"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	Busy            float64 `json:"busy"`
}

type statusRequests struct {
	InFlight      int                `json:"in_flight"`
	MaxConcurrent int                `json:"max_concurrent"`
	Total         uint64             `json:"total"`
	Rejected      uint64             `json:"rejected"`
	Failed        uint64             `json:"failed"`
	PerSecond     float64            `json:"per_second"`
	Latency       map[string]float64 `json:"latency_ms"`
}

type statusLimits struct {
	BodyBytes    int64   `json:"body_bytes"`
	Inputs       int     `json:"inputs"`
	Tokens       int     `json:"tokens"`
	QueuedTokens int     `json:"queued_tokens"`
	QueueTime    float64 `json:"queue_seconds"`
	Timeout      float64 `json:"timeout_seconds"`
}

// status is GET /api/status, for pages that show what is going on.
func (c *call) status() error {
	now := time.Now()
	states := map[string]modelHealth{}
	list := make([]statusModel, 0, len(c.models))
	for _, m := range c.models {
		one := c.statusOf(m, now)
		states[m.Name] = modelHealth{State: one.State}
		list = append(list, one)
	}
	o := c.options
	perSecond, latency := c.latencies.look(now, 0.5, 0.9, 0.99)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	c.w.Header().Set("Cache-Control", "no-store")
	return c.reply(struct {
		Version  string         `json:"version"`
		State    string         `json:"state"`
		Started  time.Time      `json:"started"`
		Uptime   float64        `json:"uptime_seconds"`
		Models   []statusModel  `json:"models"`
		Requests statusRequests `json:"requests"`
		Limits   statusLimits   `json:"limits"`
	}{
		o.Version, c.overall(states), c.started.UTC().Truncate(time.Second), now.Sub(c.started).Seconds(), list,
		statusRequests{c.working.now(), o.MaxConcurrent, c.metrics.answered.Load(), c.metrics.rejected.Load(), c.metrics.failures.Load(), perSecond,
			map[string]float64{"p50": ms(latency[0]), "p90": ms(latency[1]), "p99": ms(latency[2])}},
		statusLimits{o.MaxBodyBytes, o.MaxInputs, o.MaxTokens, o.MaxQueuedTokens, max(0, o.MaxQueueTime.Seconds()), max(0, o.RequestTimeout.Seconds())},
	})
}

func (c *call) statusOf(m *served, now time.Time) statusModel {
	state, err := m.state()
	one := statusModel{Name: m.Name, Model: m.Path, State: state, Prompts: []string{}, Labels: []string{}}
	if err != nil {
		one.Error = err.Error()
	}
	m.mutex.Lock()
	one.Kind = kindNames[m.kind]
	m.mutex.Unlock()
	stats := m.stats()
	lately := m.rates.look(now, stats)
	one.Load = statusLoad{stats.Waiting, stats.QueuedTokens, stats.BatchTokens, lately.fill, stats.Batches, stats.Sequences, stats.Tokens, lately.texts, lately.tokens, lately.busy}
	if e := m.look(); e != nil {
		info := e.Info()
		one.Architecture, one.Dimensions, one.MaxTokens, one.DType = info.Architecture, e.dimensions(), info.MaxTokens, info.DType
		one.Device, one.DeviceKind = info.Device.Name, deviceKind(info.Device.Kind)
		one.WeightBytes, one.ArenaBytes, one.HostBytes = info.WeightBytes, info.ArenaBytes, info.HostBytes
		one.Prompts = append(one.Prompts, slices.Sorted(maps.Keys(info.Prompts))...)
		one.Labels = append(one.Labels, info.Labels...)
	}
	return one
}

// deviceKind is a word: "discrete", "integrated", "virtual", "software", "cpu", "reference".
func deviceKind(k fmt.Stringer) string {
	return strings.TrimSuffix(strings.ToLower(k.String()), " gpu")
}
