package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Serve answers on a listener (which may speak TLS) until ctx ends: then new requests get a 503, those at work finish, for at most Options.ShutdownTimeout, and it
// returns nil. Models are not unloaded; that is for Close. It may be called for several listeners.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.options.ReadHeaderTimeout,
		ReadTimeout:       s.options.ReadTimeout,
		IdleTimeout:       s.options.IdleTimeout,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // of connections that clients broke
	}
	if o := s.options; o.RequestTimeout > 0 && o.ReadTimeout > 0 && o.WriteTimeout > 0 {
		h.WriteTimeout = o.ReadTimeout + o.RequestTimeout + o.WriteTimeout // counts from the header
	}
	failed := make(chan error, 1)
	go func() { failed <- h.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	s.log.Info("shutting down", "at_work", s.working.now())
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(s.options.ShutdownTimeout, 0))
	defer cancel()
	err := s.Drain(late) // the listener stays open: what comes now is told that the server is ending
	if err != nil {
		s.log.Warn("requests were cut off", "at_work", s.working.now())
	} else {
		linger, cancel := context.WithTimeout(late, lingerTime)
		defer cancel()
		err = h.Shutdown(linger)
		if errors.Is(err, context.DeadlineExceeded) {
			err = nil // nothing is at work: a connection of HTTP/2 that came just now, which net/http does not close, or one without a request yet
		}
	}
	h.Close()
	<-failed
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("some requests did not finish in time and were cut off")
	}
	return err
}

// lingerTime is how long connections on which no request is at work may take to end.
const lingerTime = 2 * time.Second
