package server

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/vkbert/vkbert"
)

// metrics are what Prometheus reads. Those of models are read from the library when they are asked for.
type metrics struct {
	server   *Server
	handler  http.Handler
	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
	prompt   *prometheus.CounterVec

	answered, rejected, failures atomic.Uint64
}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		server: s,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vkbert_http_requests_total", Help: "Requests that were answered."},
			[]string{"route", "model", "code"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "vkbert_http_request_duration_seconds", Help: "From the request's header to the end of the response, of requests that succeeded.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30}}, []string{"route", "model"}),
		prompt: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vkbert_http_tokens_total", Help: "Tokens of the requests that succeeded, special tokens included."},
			[]string{"route", "model"}),
	}
	r := prometheus.NewRegistry()
	r.MustRegister(m.requests, m.took, m.prompt, m,
		counter("vkbert_http_requests_rejected_total", "Requests that were told to come later (429).", &m.rejected),
		counter("vkbert_http_requests_failed_total", "Requests that failed for a reason of the server's.", &m.failures),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "vkbert_http_requests_in_flight", Help: "Requests at work."}, func() float64 { return float64(s.working.now()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "vkbert_build_info", Help: "1, with the version.", ConstLabels: prometheus.Labels{"version": s.options.Version}}, func() float64 { return 1 }))
	m.handler = promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	return m
}

func counter(name, help string, n *atomic.Uint64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(n.Load()) })
}

// failed counts a request that is told of an error.
func (m *metrics) failed(c *call, f *failure) {
	switch {
	case f.class == overloaded:
		m.rejected.Add(1)
	case c.api.status(f) >= 500 || f.class == failed:
		m.failures.Add(1)
	}
}

func (m *metrics) done(c *call, took time.Duration) {
	m.answered.Add(1)
	m.requests.WithLabelValues(c.path, c.model, strconv.Itoa(c.w.status)).Inc()
	if c.w.status != http.StatusOK {
		return
	}
	m.took.WithLabelValues(c.path, c.model).Observe(took.Seconds())
	m.prompt.WithLabelValues(c.path, c.model).Add(float64(c.tokens))
	m.server.latencies.add(time.Now(), took)
}

// A modelMetric is read of a model.
type modelMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	get  func(s vkbert.Stats, r recent) float64
}

func metric(name, help string, kind prometheus.ValueType, get func(s vkbert.Stats, r recent) float64) modelMetric {
	return modelMetric{prometheus.NewDesc(name, help, []string{"model"}, nil), kind, get}
}

var modelMetrics = []modelMetric{
	metric("vkbert_texts_total", "Texts that the device worked on.", prometheus.CounterValue, func(s vkbert.Stats, _ recent) float64 { return float64(s.Sequences) }),
	metric("vkbert_tokens_total", "Tokens that the device worked on.", prometheus.CounterValue, func(s vkbert.Stats, _ recent) float64 { return float64(s.Tokens) }),
	metric("vkbert_batches_total", "Batches that the device worked on.", prometheus.CounterValue, func(s vkbert.Stats, _ recent) float64 { return float64(s.Batches) }),
	metric("vkbert_batch_tokens", "Tokens that a batch is filled up to at present.", prometheus.GaugeValue, func(s vkbert.Stats, _ recent) float64 { return float64(s.BatchTokens) }),
	metric("vkbert_batch_fill_ratio", "Mean tokens of the last batches, as a share of what they are filled up to.", prometheus.GaugeValue, func(_ vkbert.Stats, r recent) float64 { return r.fill }),
	metric("vkbert_queue_calls", "Calls that are not done.", prometheus.GaugeValue, func(s vkbert.Stats, _ recent) float64 { return float64(s.Waiting) }),
	metric("vkbert_queue_tokens", "Tokens that wait for a batch.", prometheus.GaugeValue, func(s vkbert.Stats, _ recent) float64 { return float64(s.QueuedTokens) }),
	metric("vkbert_queue_wait_seconds_total", "Time from handing in to the batch, over all that was handed in together.", prometheus.CounterValue, func(s vkbert.Stats, _ recent) float64 { return s.Queued.Seconds() }),
	metric("vkbert_queue_waits_total", "How many times that was.", prometheus.CounterValue, func(s vkbert.Stats, _ recent) float64 { return float64(s.HandIns) }),
	metric("vkbert_tokenize_seconds_total", "Time spent on tokenizing, over all goroutines.", prometheus.CounterValue, func(s vkbert.Stats, _ recent) float64 { return s.Tokenizing.Seconds() }),
	metric("vkbert_device_busy_seconds_total", "Time in which the device had work.", prometheus.CounterValue, func(s vkbert.Stats, _ recent) float64 { return s.Busy.Seconds() }),
}

var (
	memoryDesc = prometheus.NewDesc("vkbert_device_memory_bytes", "Memory that a loaded model takes, by what for: weights and arena on the device, host for inputs and outputs.", []string{"model", "device", "use"}, nil)
	upDesc     = prometheus.NewDesc("vkbert_model_state", "1 for the state that a model is in.", []string{"model", "state"}, nil)
)

// Describe is prometheus.Collector's.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, x := range modelMetrics {
		out <- x.desc
	}
	out <- memoryDesc
	out <- upDesc
}

// Collect is prometheus.Collector's.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	now := time.Now()
	for _, one := range m.server.models {
		stats := one.stats()
		lately := one.rates.look(now, stats)
		for _, x := range modelMetrics {
			out <- prometheus.MustNewConstMetric(x.desc, x.kind, x.get(stats, lately), one.Name)
		}
		state, _ := one.state()
		out <- prometheus.MustNewConstMetric(upDesc, prometheus.GaugeValue, 1, one.Name, state)
		if e := one.look(); e != nil {
			info := e.Info()
			for use, bytes := range map[string]uint64{"weights": info.WeightBytes, "arena": info.ArenaBytes, "host": info.HostBytes} {
				out <- prometheus.MustNewConstMetric(memoryDesc, prometheus.GaugeValue, float64(bytes), one.Name, info.Device.Name, use)
			}
		}
	}
}
