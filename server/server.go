package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
)

// Server serves models. It is an http.Handler, safe for any number of goroutines, and has to be closed.
type Server struct {
	options Options
	models  []*served
	byName  map[string]*served
	log     *slog.Logger
	tracer  trace.Tracer
	mux     *http.ServeMux
	methods map[string][]string // that a path takes
	keys    [][sha256.Size]byte
	metrics *metrics

	life       context.Context // ends with Close
	end        context.CancelFunc
	background sync.WaitGroup
	started    time.Time
	loaded     atomic.Bool // Load was through
	draining   atomic.Bool
	working    work
	buffered   atomic.Int64 // bytes of bodies
	latencies  latencies
	checks     checks
}

// New makes a server of these models, which need not be there yet: see [Server.Load]. Two models must not have one name.
func New(models []Model, o Options) (*Server, error) {
	if len(models) == 0 {
		return nil, errors.New("server: no models")
	}
	o = o.withDefaults()
	s := &Server{options: o, log: o.Logger, byName: map[string]*served{}, started: time.Now()}
	s.life, s.end = context.WithCancel(context.Background())
	for _, m := range models {
		if m.Path == "" {
			return nil, errors.New("server: a model without a path")
		}
		if m.Name == "" {
			m.Name = m.Path
		}
		one := &served{Model: m, server: s}
		if _, twice := s.byName[m.Name]; twice {
			return nil, fmt.Errorf("server: two models are called %q", m.Name)
		}
		s.byName[m.Name] = one
		s.models = append(s.models, one)
	}
	for _, m := range s.models { // names come first
		for _, other := range []string{m.Path, m.Name + ":latest"} {
			if _, taken := s.byName[other]; !taken {
				s.byName[other] = m
			}
		}
	}
	for _, key := range o.APIKeys {
		if strings.TrimSpace(key) == "" {
			return nil, errors.New("server: an empty API key")
		}
		s.keys = append(s.keys, sha256.Sum256([]byte(key)))
	}
	provider := o.TracerProvider
	if provider == nil {
		provider = otel.GetTracerProvider()
	}
	s.tracer = provider.Tracer("github.com/vkbert/vkbert/server")
	s.metrics = newMetrics(s)
	s.route()
	return s, nil
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id, ok := strings.CutPrefix(r.URL.Path, modelsPath); ok { // which may be a path, whose slashes and dots the mux would clean away
		changed, u := *r, *r.URL
		u.RawPath = modelsPath + url.PathEscape(id)
		changed.URL = &u
		r = &changed
	}
	s.mux.ServeHTTP(w, r)
}

// Drain ends the taking of work: requests under way go on, and new ones get a 503. It returns when none is at work any more, or with ctx's error.
func (s *Server) Drain(ctx context.Context) error {
	s.draining.Store(true)
	return s.working.wait(ctx)
}

// Close ends the requests at work and unloads the models.
func (s *Server) Close() error {
	s.draining.Store(true)
	s.end()
	for _, m := range s.models {
		m.close()
	}
	s.background.Wait()
	for _, m := range s.models { // one may have been loading
		m.close()
	}
	s.background.Wait()
	return nil
}

// work counts the requests at work.
type work struct {
	mutex sync.Mutex
	count int
	none  chan struct{} // closed when there are none; nil: nobody waits
}

// enter counts one more, unless there are as many as may be.
func (w *work) enter(limit int) bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if over(w.count+1, limit) {
		return false
	}
	w.count++
	return true
}

func (w *work) leave() {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.count--; w.count == 0 && w.none != nil {
		close(w.none)
		w.none = nil
	}
}

func (w *work) now() int {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.count
}

func (w *work) wait(ctx context.Context) error {
	w.mutex.Lock()
	if w.count == 0 {
		w.mutex.Unlock()
		return nil
	}
	if w.none == nil {
		w.none = make(chan struct{})
	}
	none := w.none
	w.mutex.Unlock()
	select {
	case <-none:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
