package server

import (
	"slices"
	"sync"
	"time"

	"github.com/vkbert/vkbert"
)

// window is how far back "at present" goes.
const window = 10 * time.Second

// rates keeps counts of a model from which to tell what it did lately. They are taken when somebody asks, at most once a second.
type rates struct {
	mutex sync.Mutex
	taken []sample
}

type sample struct {
	at    time.Time
	stats vkbert.Stats
}

// recent is what a model did lately, a second.
type recent struct{ texts, tokens, busy, fill float64 }

func (r *rates) look(now time.Time, s vkbert.Stats) recent {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var old sample
	if len(r.taken) > 0 {
		old = r.taken[0]
	}
	if n := len(r.taken); n == 0 || now.Sub(r.taken[n-1].at) >= time.Second {
		r.taken = append(r.taken, sample{now, s})
		for len(r.taken) > 1 && now.Sub(r.taken[1].at) >= window {
			r.taken = slices.Delete(r.taken, 0, 1)
		}
	}
	seconds := now.Sub(old.at).Seconds()
	if old.at.IsZero() || seconds <= 0 {
		return recent{}
	}
	batches := float64(s.Batches - old.stats.Batches)
	tokens := float64(s.Tokens - old.stats.Tokens)
	out := recent{
		texts:  float64(s.Sequences-old.stats.Sequences) / seconds,
		tokens: tokens / seconds,
		busy:   min(1, (s.Busy-old.stats.Busy).Seconds()/seconds),
	}
	if batches > 0 && s.BatchTokens > 0 {
		out.fill = tokens / batches / float64(s.BatchTokens)
	}
	return out
}

// latencies keeps how long the last requests took.
type latencies struct {
	mutex sync.Mutex
	next  int
	count int
	ring  [1024]struct {
		end  time.Time
		took time.Duration
	}
}

func (l *latencies) add(end time.Time, took time.Duration) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.ring[l.next].end, l.ring[l.next].took = end, took
	l.next = (l.next + 1) % len(l.ring)
	l.count = min(l.count+1, len(l.ring))
}

// look returns how many requests a second there were lately, and percentiles of how long they took.
func (l *latencies) look(now time.Time, percentiles ...float64) (perSecond float64, values []time.Duration) {
	l.mutex.Lock()
	var took []time.Duration
	oldest := now
	for _, e := range l.ring[:l.count] {
		if now.Sub(e.end) < window {
			took = append(took, e.took)
			if e.end.Before(oldest) {
				oldest = e.end
			}
		}
	}
	l.mutex.Unlock()
	values = make([]time.Duration, len(percentiles))
	if len(took) == 0 {
		return 0, values
	}
	slices.Sort(took)
	for i, p := range percentiles {
		values[i] = took[min(len(took)-1, int(p*float64(len(took))))]
	}
	over := window
	if len(took) == len(l.ring) { // more than it keeps
		over = max(now.Sub(oldest), time.Millisecond)
	}
	return float64(len(took)) / over.Seconds(), values
}
