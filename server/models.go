package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vkbert/vkbert"
)

// served is a model that is loaded when it is needed, and unloaded when nobody has used it for as long as it was to be kept.
type served struct {
	Model
	server *Server
	tokens atomic.Int64 // of the requests at work
	short  atomic.Int64 // of those among them that the scheduler puts first
	taking sync.Mutex   // while it is seen whether there is room for more

	mutex   sync.Mutex
	engine  *engine       // nil while it is not loaded
	loading chan struct{} // closed when a load ends; nil: there is none
	err     error         // of the last load
	kind    vkbert.Kind   // "" until it is known
	users   int           // also those that wait for the load
	keep    time.Duration
	timer   *time.Timer // unloads it
	expires time.Time   // when it will
	loads   int
	past    vkbert.Stats // of the engines before
	closed  bool

	rates rates
	about sync.Once // details
	details
}

// states of a model.
const (
	stateLoading  = "loading"
	stateReady    = "ready"
	stateDegraded = "degraded"
	stateUnloaded = "unloaded"
	stateFailed   = "failed"
	stateStopping = "stopping" // of the server alone
)

// state says how the model is, and why it is not well.
func (m *served) state() (string, error) {
	m.mutex.Lock()
	e, loading, err := m.engine, m.loading, m.err
	m.mutex.Unlock()
	switch {
	case e != nil:
		if err := e.Health(); err != nil {
			return stateDegraded, err
		}
		return stateReady, nil
	case loading != nil:
		return stateLoading, nil
	case err != nil:
		return stateFailed, err
	}
	return stateUnloaded, nil
}

// acquire returns the open model, loading it first if need be, and how long that took. Each acquire that does not fail has its release.
func (m *served) acquire(ctx context.Context) (e *engine, took time.Duration, err error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.users++ // already while it waits: else the model may be gone before it wakes
	defer func() {
		if err != nil {
			m.users--
			m.idle()
		}
	}()
	if m.timer != nil {
		m.timer.Stop()
		m.timer = nil
	}
	start := time.Now()
	for waited := false; m.closed || m.engine == nil; waited = true {
		switch {
		case m.closed:
			return nil, 0, &failure{class: unhealthy, message: "the server is shutting down", cause: vkbert.ErrClosed}
		case m.loading == nil && waited && m.err != nil:
			return nil, 0, &failure{class: unhealthy, message: fmt.Sprintf("model %q could not be loaded: %v", m.Name, m.err), cause: m.err}
		case m.loading == nil:
			m.loading = make(chan struct{})
			m.err = nil
			m.server.background.Add(1)
			go m.load()
		}
		wait := m.loading
		m.mutex.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			err = ctx.Err()
		}
		m.mutex.Lock()
		if err != nil {
			return nil, 0, err
		}
		took = time.Since(start)
	}
	return m.engine, took, nil
}

func (m *served) load() {
	defer m.server.background.Done()
	start := time.Now()
	e, err := openEngine(m.server.life, m.Model)
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.err = err; err != nil {
		m.server.log.Error("model not loaded", "model", m.Name, "error", err)
	} else {
		m.engine, m.kind, m.keep = e, e.kind, m.server.options.KeepAlive
		m.loads++
		info := e.Info()
		m.server.log.Info("model loaded", "model", m.Name, "device", info.Device.Name, "dtype", info.DType, "seconds", time.Since(start).Seconds())
		m.idle()
	}
	close(m.loading)
	m.loading = nil
}

// release ends a use. keep, if it is not nil, is how long the model stays loaded from now on without one; negative is for ever.
func (m *served) release(keep *time.Duration) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.users--
	if keep != nil {
		m.keep = *keep
	}
	m.idle()
}

// idle starts the clock of a model that nobody uses. The mutex is held.
func (m *served) idle() {
	if m.users > 0 || m.engine == nil || m.closed {
		return
	}
	if m.timer != nil {
		m.timer.Stop()
		m.timer = nil
	}
	m.expires = time.Time{}
	switch {
	case m.keep == 0:
		m.unload()
	case m.keep > 0:
		m.expires = time.Now().Add(m.keep)
		var own *time.Timer
		own = time.AfterFunc(m.keep, func() {
			m.mutex.Lock()
			defer m.mutex.Unlock()
			if m.timer == own && m.users == 0 && m.engine != nil {
				m.unload()
			}
		})
		m.timer = own
	}
}

// unload closes the model, which nobody uses, behind the call. The mutex is held.
func (m *served) unload() {
	e := m.engine
	m.engine, m.timer, m.expires = nil, nil, time.Time{}
	m.past = m.past.Plus(totals(e.Stats()))
	m.server.log.Info("model unloaded", "model", m.Name)
	m.server.background.Add(1)
	go func() {
		defer m.server.background.Done()
		if err := e.Close(); err != nil {
			m.server.log.Error("closing a model", "model", m.Name, "error", err)
		}
	}()
}

// totals leaves out what is only true of a moment.
func totals(s vkbert.Stats) vkbert.Stats {
	s.Waiting, s.QueuedTokens, s.BatchTokens, s.Speed = 0, 0, 0, 0
	return s
}

// look returns the open model, nil if it is not loaded, for what does not compute.
func (m *served) look() *engine {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.engine
}

// stats are those since the server began.
func (m *served) stats() vkbert.Stats {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	s := m.past
	if m.engine != nil {
		s = s.Plus(m.engine.Stats())
	}
	return s
}

// expiry says when the model will be unloaded; the zero time is never.
func (m *served) expiry() time.Time {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.users > 0 && m.keep > 0 {
		return time.Now().Add(m.keep)
	}
	return m.expires
}

// close unloads the model for good.
func (m *served) close() {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.closed = true
	if m.timer != nil {
		m.timer.Stop()
	}
	if m.engine != nil {
		m.unload()
	}
}

// find returns the model of a name. "" is the first whose kind is one of those given.
func (s *Server) find(name string, kinds ...vkbert.Kind) (*served, error) {
	if m, ok := s.byName[name]; ok {
		return m, nil
	}
	if name != "" {
		return nil, failf(noModel, "model", "model %.200q not found", name)
	}
	for _, want := range kinds {
		for _, m := range s.models {
			m.mutex.Lock()
			kind := m.kind
			m.mutex.Unlock()
			if kind == want {
				return m, nil
			}
		}
	}
	return s.models[0], nil
}

// Load opens all models, one after the other. Until then /health says "loading", and requests wait for their model. It need not be called: a model is loaded
// when it is first asked for.
func (s *Server) Load(ctx context.Context) error {
	var all error
	for _, m := range s.models {
		_, _, err := m.acquire(ctx)
		if err == nil {
			m.release(nil)
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var f *failure
		if errors.As(err, &f) && f.cause != nil {
			err = f.cause
		}
		all = errors.Join(all, err)
	}
	s.loaded.Store(true)
	return all
}
