package bert

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"time"

	"github.com/vkbert/vkbert/cgo"
)

// A budget says how many tokens a batch is filled up to: the fewest that reach 95 % of the device's throughput, and at most 50 ms of work. That is learnt from
// batches that are run anyway, while enough tokens wait to try some sizes, and kept in the cache folder. Below the queue's mutex.
type budget struct {
	most  int    // tokens of a batch
	fixed bool   // the user asked for most
	path  string // of the file that it is kept in; "" = none
	key   string // what it holds for

	chosen  int  // 0 = not known yet
	limited bool // by maxBatchTime: perhaps the machine had other things to do
	sizes   []trial
	seconds [bits.UintSize + 1]float64 // a token, of batches by the bits of their size: a moving mean
}

// trial is what batches of a size take.
type trial struct {
	tokens  int
	given   int // batches that were to have it
	samples int
	best    time.Duration // of a batch, by the token scaled to the full size
}

const (
	maxBatchTime = 50 * time.Millisecond
	firstTrial   = 128
	trialSamples = 3
	trialBatches = 8 * trialSamples // that are given a chance to be samples
	enoughSpeed  = 0.95
)

// budgetKey names all that the speed of a program's batches depends on.
func (e *Encoder) budgetKey(d cgo.DeviceInfo, program string) string {
	core, _ := cgo.Version()
	p := e.arch
	return fmt.Sprintf("%s, %s %x %s, %d threads, %s %q: %d layers, %d hidden, %d heads, %d values, %s", core, d.Name, d.UUID, d.Driver, d.Threads,
		p.arch.name, program, p.encoder.layers, p.width(p.encoder.output), p.encoder.heads, p.width(p.output), p.stored.name)
}

func newBudget(most int, fixed bool, folder, key string) *budget {
	b := &budget{most: most, fixed: fixed, key: key}
	if folder != "" && !fixed {
		sum := sha256.Sum256([]byte(key))
		b.path = filepath.Join(folder, "budget-"+hex.EncodeToString(sum[:8])+".json")
		b.load()
	}
	return b
}

// tokens is what a batch is filled up to while no size is tried.
func (b *budget) tokens() int {
	switch {
	case b.fixed:
		return b.most
	case b.chosen > 0:
		return b.chosen
	}
	tokens := b.most
	for tokens > firstTrial && b.estimate(tokens) > maxBatchTime {
		tokens /= 2
	}
	return tokens
}

// known says that no sizes are, or will be, tried.
func (b *budget) known() bool { return b.fixed || b.chosen > 0 }

// target is what the next batch is filled up to.
func (b *budget) target(queued int) int {
	if b.known() || queued < b.most {
		return b.tokens()
	}
	if len(b.sizes) == 0 {
		b.sizes = append(b.sizes, trial{tokens: min(firstTrial, b.most)})
	}
	t := &b.sizes[len(b.sizes)-1]
	if t.given++; t.given > trialBatches { // the sequences do not add up to it: the next size
		*t = trial{tokens: min(2*t.tokens, b.most)}
	}
	return t.tokens
}

// estimate is how long a batch will take; 0 before there was one of about its size. What a few tokens take says nothing of many.
func (b *budget) estimate(tokens int) time.Duration {
	size := bits.Len(uint(tokens))
	least := min(size, bits.Len(firstTrial))
	for d := range len(b.seconds) { // the nearest size that is known, the larger first
		for _, i := range [...]int{size + d, size - d} {
			if i >= least && i < len(b.seconds) && b.seconds[i] > 0 {
				return time.Duration(b.seconds[i] * float64(tokens) * float64(time.Second))
			}
		}
	}
	return 0
}

// speed is how many tokens a second full batches make; 0 while nothing is known. It is the best of all sizes: what small batches reach, large ones do too, and a mean from a
// bad moment would stay where whoever goes by the speed never fills a batch of that size again.
func (b *budget) speed() float64 {
	fastest := 0.0
	for _, each := range b.seconds {
		if each > 0 {
			fastest = max(fastest, 1/each)
		}
	}
	return fastest
}

// observe learns from a batch. It returns true when that decided the size.
func (b *budget) observe(tokens int, took time.Duration) bool {
	const weight = 0.25
	mean := &b.seconds[bits.Len(uint(tokens))]
	each := took.Seconds() / float64(tokens)
	if *mean == 0 {
		*mean = each
	}
	*mean += weight * (each - *mean)
	if b.limited && tokens >= b.chosen*7/8 && 3*b.estimate(b.chosen) < maxBatchTime {
		b.chosen, b.limited, b.sizes = 0, false, nil // it has become fast
	}
	if b.known() || len(b.sizes) == 0 {
		return false
	}
	t := &b.sizes[len(b.sizes)-1]
	if tokens > t.tokens && t.samples == 0 {
		t.tokens = min(b.most, 1<<bits.Len(uint(tokens-1))) // sequences are longer than that
	}
	if tokens < t.tokens*7/8 || tokens > t.tokens {
		return false
	}
	full := took * time.Duration(t.tokens) / time.Duration(tokens)
	if t.samples++; t.samples == 1 || full < t.best {
		t.best = full
	}
	if t.samples < trialSamples {
		return false
	}
	if next := min(2*t.tokens, b.most); next > t.tokens {
		if b.limited = t.best*time.Duration(next)/time.Duration(t.tokens) > maxBatchTime*5/4; !b.limited {
			b.sizes = append(b.sizes, trial{tokens: next})
			return false
		}
	}
	b.choose()
	return true
}

// choose takes the smallest size that is nearly as fast as the fastest, of those that take at most maxBatchTime.
func (b *budget) choose() {
	speed := func(t trial) float64 { return float64(t.tokens) / float64(t.best) }
	fastest := 0.0
	for i, t := range b.sizes {
		if i == 0 || t.best <= maxBatchTime {
			fastest = max(fastest, speed(t))
		}
	}
	for _, t := range b.sizes {
		if speed(t) >= enoughSpeed*fastest {
			b.chosen = t.tokens
			return
		}
	}
}

// budgetFile is what the file holds.
type budgetFile struct {
	Key     string `json:"key"`
	Tokens  int    `json:"tokens"`
	Limited bool   `json:"limited"`
	Sum     string `json:"sha256"` // of what is above
}

func (f budgetFile) sum() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%d %t", f.Key, f.Tokens, f.Limited))
	return hex.EncodeToString(sum[:])
}

// load takes the size from the file; a missing or damaged one, or one of something else, is measured again.
func (b *budget) load() {
	data, err := os.ReadFile(b.path)
	var f budgetFile
	if err == nil && json.Unmarshal(data, &f) == nil && f.Key == b.key && f.Sum == f.sum() && f.Tokens > 0 && f.Tokens <= b.most {
		b.chosen, b.limited = f.Tokens, f.Limited
	}
}

// file is what was decided.
func (b *budget) file() *budgetFile {
	f := budgetFile{Key: b.key, Tokens: b.chosen, Limited: b.limited}
	f.Sum = f.sum()
	return &f
}

// store keeps it, without the queue's mutex; where the folder cannot be written to, it is measured again next time.
func (f *budgetFile) store(path string) {
	if path == "" {
		return
	}
	data, err := json.Marshal(f)
	if err != nil {
		return
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".budget-*")
	if err != nil {
		return
	}
	_, err = temporary.Write(data)
	if e := temporary.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		os.Remove(temporary.Name())
	}
}
