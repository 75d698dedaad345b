package bert

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// A machine is what a model is on one device: the open device, the weights there, programs.
type machine interface {
	program(cgo.ProgramDesc) (executor, error)
	abandon() // the device was lost: nobody is to begin anything on it
	Close()
}

// A site keeps a model running on one device. When the device is lost, the batches that were on it fail; the device is then opened again, the weights are loaded
// again from the same files, and the programs go on, once. A second loss is for good: something is wrong that another try will not mend.
type site struct {
	make func() (machine, error) // opens the device and loads the weights
	warn func(message string)

	mutex    sync.Mutex
	back     *sync.Cond // the rebuild has ended
	machine  machine
	programs []*siteProgram
	making   int // programs that are not among them yet
	losses   int
	err      error // why it is down; nil while it is up
	busy     bool  // it is being rebuilt
	closed   bool
}

// siteProgram is a program at a site, an executor. It outlives the device.
type siteProgram struct {
	site    *site
	desc    cgo.ProgramDesc
	current executor // below the site's mutex
	users   int      // goroutines in current
}

func newSite(m machine, again func() (machine, error), warn func(string)) *site {
	s := &site{make: again, warn: warn, machine: m}
	s.back = sync.NewCond(&s.mutex)
	return s
}

// program makes a program. What it runs in is made anew when the device was lost. Kernels are tested then, which may lose it: the program is made on the rebuilt
// one.
func (s *site) program(desc cgo.ProgramDesc) (*siteProgram, error) {
	p, err := s.newProgram(desc)
	if errors.Is(err, cgo.DeviceLost) {
		p, err = s.newProgram(desc)
	}
	return p, err
}

func (s *site) newProgram(desc cgo.ProgramDesc) (*siteProgram, error) {
	s.mutex.Lock()
	if err := s.wait(); err != nil {
		s.mutex.Unlock()
		return nil, err
	}
	m := s.machine
	s.making++
	s.mutex.Unlock() // that takes long, and others are in use meanwhile
	made, err := m.program(desc)
	p := &siteProgram{site: s, desc: desc, current: made}
	s.mutex.Lock()
	s.making--
	if err == nil {
		s.programs = append(s.programs, p)
	}
	s.leave(m, err)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// leave is the end of what somebody did on the machine: the site may have lost it. The mutex is held, and is not afterwards.
func (s *site) leave(m machine, err error) {
	warning := ""
	if errors.Is(err, cgo.DeviceLost) && m == s.machine {
		warning = s.lost(err)
	}
	again := s.busy && warning != ""
	s.back.Broadcast()
	s.mutex.Unlock()
	if warning == "" {
		return
	}
	m.abandon() // without the mutex: that may wait for a device that is being opened, and whoever asks for the health would too
	if again {
		go s.rebuild()
	}
	s.warn(warning) // a log handler may ask for the health
}

// drop releases a program that nobody uses.
func (s *site) drop(p *siteProgram) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for s.busy {
		s.back.Wait()
	}
	s.programs = slices.DeleteFunc(s.programs, func(other *siteProgram) bool { return other == p })
	closeExecutor(p.current)
}

// wait waits for a rebuild and says whether the site is up. The mutex is held.
func (s *site) wait() error {
	for s.busy {
		s.back.Wait()
	}
	if s.closed {
		return loader.ErrClosed
	}
	return s.err
}

// health is nil while the site is up.
func (s *site) health() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.err
}

// Do runs a batch. One that the device has no memory for is run in halves.
func (p *siteProgram) Do(w *cgo.Work) error { return inHalves(w, p.desc, p.once) }

// downError is of a batch that did not come to its device.
type downError struct{ error }

func (e *downError) Unwrap() error { return e.error }

// replica is a program on several devices. Batches go to one of them, and to another where that one is down or lost.
type replica struct {
	programs []*siteProgram
	own      int
}

func (r *replica) Do(w *cgo.Work) error {
	var first error
	for i := range r.programs {
		err := r.programs[(r.own+i)%len(r.programs)].Do(w)
		var down *downError
		if !errors.As(err, &down) && !errors.Is(err, cgo.DeviceLost) {
			return err
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// rebuilding says that a batch would have to wait until the device is there again.
func (r *replica) rebuilding() bool {
	s := r.programs[r.own].site
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.busy
}

func (p *siteProgram) once(w *cgo.Work) error {
	s := p.site
	s.mutex.Lock()
	if err := s.wait(); err != nil {
		s.mutex.Unlock()
		return &downError{err}
	}
	m, current := s.machine, p.current
	p.users++
	s.mutex.Unlock()
	err := current.Do(w)
	s.mutex.Lock()
	p.users--
	s.leave(m, err)
	return err
}

// lost takes the site down, the first time until it is rebuilt. It returns what there is to warn of. The mutex is held.
func (s *site) lost(err error) string {
	if s.err != nil {
		return ""
	}
	s.losses++
	s.err = err
	if s.losses > 1 {
		s.err = fmt.Errorf("the device was lost for the second time: %w", err)
		return s.err.Error() + "; it stays off"
	}
	s.busy = true
	return err.Error() + "; the model is loaded again"
}

// rebuild opens the device and loads the weights anew, when nobody is in a program any more.
func (s *site) rebuild() {
	s.mutex.Lock()
	for s.users() > 0 {
		s.back.Wait()
	}
	old := s.machine
	s.machine = nil
	s.mutex.Unlock()
	for _, p := range s.programs { // not added to while the site is busy
		closeExecutor(p.current)
	}
	old.Close()
	fresh, made, err := s.again()
	if err != nil {
		err = fmt.Errorf("the device was lost, and the model could not be loaded again: %w", err)
		s.warn(err.Error())
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for i, p := range s.programs {
		p.current = made[i]
	}
	s.machine = fresh
	s.busy = false
	s.err = err
	s.back.Broadcast()
}

// again is another machine with the programs; on failure there is none.
func (s *site) again() (machine, []executor, error) {
	made := make([]executor, len(s.programs))
	fresh, err := s.make()
	if err != nil {
		return nil, made, err
	}
	for i, p := range s.programs {
		if made[i], err = fresh.program(p.desc); err != nil {
			for _, e := range made[:i] {
				closeExecutor(e)
			}
			fresh.Close()
			return nil, make([]executor, len(s.programs)), err
		}
	}
	return fresh, made, nil
}

// users are the goroutines that use the machine.
func (s *site) users() int {
	n := s.making
	for _, p := range s.programs {
		n += p.users
	}
	return n
}

// close releases the device. No program is in use any more.
func (s *site) close() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for s.busy {
		s.back.Wait()
	}
	if s.closed {
		return
	}
	s.closed = true
	for _, p := range s.programs {
		closeExecutor(p.current)
	}
	if s.machine != nil {
		s.machine.Close()
	}
}

func closeExecutor(e executor) {
	if c, ok := e.(interface{ Close() }); ok && e != nil {
		c.Close()
	}
}

// inHalves runs a batch, and where there is no memory for it the halves of its sequences, and so on. w is as it was afterwards.
func inHalves(w *cgo.Work, desc cgo.ProgramDesc, run func(*cgo.Work) error) error {
	err := run(w)
	sequences := len(w.CuSeqlens) - 1
	if !errors.Is(err, cgo.OutOfDeviceMemory) || sequences < 2 {
		return err
	}
	whole := *w
	defer func() { *w = whole }()
	out := desc.Values[desc.Outputs[0]]
	var notFinite error // says nothing about the other half
	for _, half := range [2][2]int{{0, sequences / 2}, {sequences / 2, sequences}} {
		first, end := half[0], half[1]
		base, last := whole.CuSeqlens[first], whole.CuSeqlens[end]
		*w = whole
		w.IDs = whole.IDs[base:last]
		w.TypeIDs = cut(whole.TypeIDs, int(base), int(last))
		w.Positions = cut(whole.Positions, int(base), int(last))
		w.PoolStarts = cut(whole.PoolStarts, first, end)
		w.CuSeqlens = whole.CuSeqlens[first : end+1]
		rows := [2]int{first, end}
		if out.Scope == cgo.PerToken {
			rows = [2]int{int(base), int(last)}
		}
		w.Output = whole.Output[rows[0]*int(out.Width) : rows[1]*int(out.Width)]
		for i := range w.CuSeqlens { // they count from the half's first token while it runs
			w.CuSeqlens[i] -= base
		}
		err := inHalves(w, desc, run)
		for i := range w.CuSeqlens {
			w.CuSeqlens[i] += base
		}
		if errors.Is(err, cgo.NotFinite) {
			notFinite = err
		} else if err != nil {
			return err
		}
	}
	return notFinite
}

func cut[T any](s []T, first, end int) []T {
	if s == nil {
		return nil
	}
	return s[first:end]
}

// board is the machine that there is: a device with the model's weights.
type board struct {
	device  *deviceUser
	weights *cgo.Weights
	info    cgo.WeightsInfo
}

func (b *board) program(desc cgo.ProgramDesc) (executor, error) {
	return cgo.NewProgram(b.weights, desc)
}

// abandon says that the device was lost.
func (b *board) abandon() { b.device.abandon() }

func (b *board) Close() {
	b.weights.Close()
	b.device.Close()
}

// openBoard opens a device, chooses how the weights are stored there, and loads them.
func (p *planned) openBoard(ctx context.Context, selector string, o Options) (*board, error) {
	device, err := acquire(cgo.Options{Selector: selector, Threads: o.Threads, CacheDir: o.CacheDir, Log: o.Log})
	if err != nil {
		return nil, err
	}
	p.choose(device.Info())
	weights, info, err := upload(ctx, device.Device, p.tensors)
	if err != nil {
		device.Close()
		return nil, err
	}
	return &board{device, weights, info}, nil
}

// reopenBoard is openBoard for a device that was lost: the files are opened again, and must be the same.
func (p *planned) reopenBoard(selector string, o Options) (_ machine, err error) {
	p.reopening.Lock() // of several devices that are lost together one after the other: they share the files
	defer p.reopening.Unlock()
	for _, w := range p.stores() {
		if err := w.Reopen(); err != nil {
			return nil, err
		}
		defer w.Close()
	}
	return p.openBoard(context.Background(), selector, o)
}

// stores are the files that tensors come from.
func (p *planned) stores() []*loader.Weights {
	var stores []*loader.Weights
	for _, spec := range p.tensors {
		for _, src := range spec.sources {
			if w := storeOf(src.from); w != nil && !slices.Contains(stores, w) {
				stores = append(stores, w)
			}
		}
	}
	return stores
}

// storeOf is the file behind a source; nil: it needs none. Random numbers begin anew.
func storeOf(t tensors) *loader.Weights {
	switch t := t.(type) {
	case *files:
		return t.weights
	case *staticTable:
		return t.module.Weights
	case *computed:
		return storeOf(t.from)
	case *randomTensors:
		t.state = 0
	}
	return nil
}
