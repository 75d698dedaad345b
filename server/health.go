package server

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// checks keeps the last result of the models' HealthCheck, which works on the device, so that many probes do not cost many embeddings.
type checks struct {
	mutex sync.Mutex
	at    time.Time
	state map[string]modelHealth
}

type modelHealth struct {
	State string `json:"state"`
	Error string `json:"error,omitempty"`
}

// checkEvery is how old a result may be.
const checkEvery = time.Second

// check says how each model is: those that are loaded are tried.
func (s *Server) check(ctx context.Context) map[string]modelHealth {
	s.checks.mutex.Lock()
	defer s.checks.mutex.Unlock()
	if time.Since(s.checks.at) < checkEvery && !s.changed() {
		return s.checks.state
	}
	states := map[string]modelHealth{}
	for _, m := range s.models {
		state, err := m.state()
		if e := m.look(); state == stateReady && e != nil {
			if err = e.HealthCheck(ctx); err != nil {
				state = stateDegraded
				if now, _ := m.state(); now == stateUnloaded { // meanwhile
					state, err = now, nil
				}
			}
		}
		h := modelHealth{State: state}
		if err != nil {
			h.Error = err.Error()
		}
		states[m.Name] = h
	}
	if ctx.Err() == nil { // else it says nothing about the models
		s.checks.at, s.checks.state = time.Now(), states
	}
	return states
}

// changed says whether a model is in another state than at the last check.
func (s *Server) changed() bool {
	for _, m := range s.models {
		if state, _ := m.state(); state != s.checks.state[m.Name].State {
			return true
		}
	}
	return false
}

// overall is the state of the server with its models in these.
func (s *Server) overall(states map[string]modelHealth) string {
	all := stateReady
	for _, h := range states {
		switch h.State {
		case stateLoading:
			if all == stateReady {
				all = stateLoading
			}
		case stateDegraded, stateFailed:
			all = stateDegraded
		case stateUnloaded:
			if !s.loaded.Load() && all == stateReady && s.loadingAny() {
				all = stateLoading // its turn comes
			}
		}
	}
	if s.draining.Load() {
		all = stateStopping
	}
	return all
}

// loadingAny says that some model is being loaded.
func (s *Server) loadingAny() bool {
	for _, m := range s.models {
		if state, _ := m.state(); state == stateLoading {
			return true
		}
	}
	return false
}

// health is GET /health: 200 where everything is well, else 503.
func (c *call) health() error {
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
	defer cancel()
	states := c.check(ctx)
	state := c.overall(states)
	status := http.StatusOK
	out := struct {
		Status    string                 `json:"status"`
		Error     string                 `json:"error,omitempty"`
		ErrorType string                 `json:"error_type,omitempty"`
		Models    map[string]modelHealth `json:"models"`
	}{Status: state, Models: states}
	if state != stateReady {
		status = http.StatusServiceUnavailable
		out.Error, out.ErrorType = "unhealthy", "Unhealthy"
	}
	return c.replyStatus(status, out)
}
