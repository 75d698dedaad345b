package bert

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/internal/testmodel"
	"github.com/vkbert/vkbert/loader"
)

var (
	errLost   = &cgo.Error{Status: cgo.DeviceLost, Message: "the device is gone"}
	errMemory = &cgo.Error{Status: cgo.OutOfDeviceMemory, Message: "no memory"}
)

// fakeMachine runs programs whose output is a number for each sequence: the sum of its ids.
type fakeMachine struct {
	mutex  sync.Mutex
	fails  []error       // of the runs that come, in order
	most   int           // sequences that there is memory for; 0: any
	gate   chan struct{} // every run waits for it, if there is one
	slow   chan struct{} // every program that is made too
	busy   chan struct{} // abandoning it waits for that
	makes  []error       // of the programs that come, in order
	runs   int
	open   int // programs
	closed bool
	lost   bool
}

type fakeProgram struct{ m *fakeMachine }

func (m *fakeMachine) program(cgo.ProgramDesc) (executor, error) {
	if m.slow != nil {
		<-m.slow
	}
	if len(m.makes) > 0 {
		err := m.makes[0]
		m.makes = m.makes[1:]
		if err != nil {
			return nil, err
		}
	}
	m.open++
	return &fakeProgram{m}, nil
}

func (m *fakeMachine) Close() { m.closed = true }

func (m *fakeMachine) abandon() {
	if m.busy != nil {
		<-m.busy
	}
	m.lost = true
}

func (p *fakeProgram) Close() { p.m.open-- }

func (p *fakeProgram) Do(w *cgo.Work) error {
	if p.m.gate != nil {
		<-p.m.gate
	}
	p.m.mutex.Lock()
	defer p.m.mutex.Unlock()
	p.m.runs++
	if len(p.m.fails) > 0 {
		err := p.m.fails[0]
		p.m.fails = p.m.fails[1:]
		return err
	}
	if p.m.most > 0 && len(w.CuSeqlens)-1 > p.m.most {
		return errMemory
	}
	for i := range w.Output {
		w.Output[i] = 0
		for _, id := range w.IDs[w.CuSeqlens[i]:w.CuSeqlens[i+1]] {
			w.Output[i] += float32(id)
		}
	}
	return nil
}

var fakeDesc = cgo.ProgramDesc{Values: []cgo.Value{{Scope: cgo.PerSequence, Width: 1}}, Outputs: []uint32{0}}

// fakeWork is sequences of 1, 2, 3, … tokens, all of them 1, whose sums are 1, 2, 3, ….
func fakeWork(t *testing.T, sequences int) *cgo.Work {
	w, err := cgo.NewWork(sequences*(sequences+1)/2, sequences, sequences)
	require.NoError(t, err)
	t.Cleanup(w.Close)
	w.TypeIDs, w.Positions = nil, nil
	w.CuSeqlens[0] = 0
	for i := range sequences {
		w.CuSeqlens[i+1] = w.CuSeqlens[i] + uint32(i+1)
		w.PoolStarts[i] = 0
	}
	for i := range w.IDs {
		w.IDs[i] = 1
	}
	return w
}

func sums(n int) []float32 {
	var s []float32
	for i := range n {
		s = append(s, float32(i+1))
	}
	return s
}

// fakeSite is a site whose second machine is `second`, or an error.
func fakeSite(t *testing.T, first, second *fakeMachine, err error) (*site, *siteProgram, func() []string) {
	var mutex sync.Mutex
	var warned []string
	s := newSite(first, func() (machine, error) { return second, err }, func(m string) {
		mutex.Lock()
		defer mutex.Unlock()
		warned = append(warned, m)
	})
	p, failed := s.program(fakeDesc)
	require.NoError(t, failed)
	return s, p, func() []string {
		mutex.Lock()
		defer mutex.Unlock()
		return slices.Clone(warned)
	}
}

func TestLostOnce(t *testing.T) {
	first, second := &fakeMachine{fails: []error{errLost}}, &fakeMachine{}
	s, p, warned := fakeSite(t, first, second, nil)
	w := fakeWork(t, 5)
	require.ErrorIs(t, p.Do(w), cgo.DeviceLost, "the batch fails")
	require.NoError(t, p.Do(w), "the next waits for the rebuild")
	assert.Equal(t, sums(5), w.Output)
	assert.NoError(t, s.health())
	assert.True(t, first.lost && first.closed && first.open == 0 && second.open == 1)
	assert.Len(t, warned(), 1)

	second.fails = []error{errLost}
	require.ErrorIs(t, p.Do(w), cgo.DeviceLost)
	for range 3 {
		require.ErrorIs(t, p.Do(w), cgo.DeviceLost, "a second loss stays")
	}
	require.ErrorContains(t, s.health(), "second time")
	assert.Equal(t, 2, second.runs, "nothing runs on it any more")
	s.close()
	assert.True(t, second.closed && second.open == 0)
	assert.ErrorIs(t, p.Do(w), loader.ErrClosed)
}

// Several batches are on the device when it is lost: all fail, one rebuild begins, and only when the last has returned.
func TestLostTogether(t *testing.T) {
	first, second := &fakeMachine{fails: []error{errLost, errLost, errLost}, gate: make(chan struct{})}, &fakeMachine{}
	s, p, warned := fakeSite(t, first, second, nil)
	var group sync.WaitGroup
	for range 3 {
		w := fakeWork(t, 2)
		group.Add(1)
		go func() {
			defer group.Done()
			assert.ErrorIs(t, p.Do(w), cgo.DeviceLost)
		}()
	}
	require.Eventually(t, func() bool { s.mutex.Lock(); defer s.mutex.Unlock(); return p.users == 3 }, 5*time.Second, time.Millisecond)
	first.gate <- struct{}{}
	require.Eventually(t, func() bool { return s.health() != nil }, 5*time.Second, time.Millisecond, "health says so")
	assert.False(t, first.closed, "two are in it still")
	close(first.gate)
	group.Wait()
	w := fakeWork(t, 3)
	require.NoError(t, p.Do(w))
	assert.Equal(t, sums(3), w.Output)
	assert.Len(t, warned(), 1)
	s.close()
}

func TestRebuildFails(t *testing.T) {
	changed := errors.Join(loader.ErrChanged, errors.New("other weights"))
	s, p, warned := fakeSite(t, &fakeMachine{fails: []error{errLost}}, nil, changed)
	w := fakeWork(t, 2)
	require.ErrorIs(t, p.Do(w), cgo.DeviceLost)
	require.ErrorIs(t, p.Do(w), loader.ErrChanged)
	require.ErrorIs(t, s.health(), loader.ErrChanged)
	assert.Len(t, warned(), 2)
	_, err := s.program(fakeDesc)
	assert.ErrorIs(t, err, loader.ErrChanged)
	s.close()
}

func TestHalves(t *testing.T) {
	m := &fakeMachine{most: 3}
	s, p, _ := fakeSite(t, m, nil, nil)
	w := fakeWork(t, 13)
	whole, cu := *w, slices.Clone(w.CuSeqlens)
	require.NoError(t, p.Do(w))
	assert.Equal(t, sums(13), w.Output)
	assert.Equal(t, cu, w.CuSeqlens)
	assert.Equal(t, len(whole.IDs), len(w.IDs))
	assert.Greater(t, m.runs, 5)
	m.fails = []error{errMemory, errMemory, errMemory, errMemory, errMemory}
	require.ErrorIs(t, p.Do(w), cgo.OutOfDeviceMemory, "not for one sequence either")
	require.NoError(t, p.Do(w), "the next good one")
	assert.Equal(t, sums(13), w.Output)

	m.fails = []error{errMemory, &cgo.Error{Status: cgo.NotFinite}}
	clear(w.Output)
	require.ErrorIs(t, p.Do(w), cgo.NotFinite)
	assert.Equal(t, sums(13)[6:], w.Output[6:], "the half that is good")
	s.close()
}

// Of two devices one is lost: its batches go to the other.
func TestReplicas(t *testing.T) {
	a, pa, _ := fakeSite(t, &fakeMachine{fails: []error{errLost}}, nil, errors.New("gone for good"))
	good := &fakeMachine{}
	b, pb, _ := fakeSite(t, good, nil, nil)
	w := fakeWork(t, 4)
	r := &replica{programs: []*siteProgram{pa, pb}}
	for range 3 {
		require.NoError(t, r.Do(w))
		assert.Equal(t, sums(4), w.Output)
	}
	assert.Equal(t, 3, good.runs)
	assert.Error(t, a.health())
	a.close()
	b.close()
}

func TestSelectors(t *testing.T) {
	devices := func() ([]cgo.DeviceInfo, error) {
		return []cgo.DeviceInfo{{Selector: "vulkan:0", Usable: true, Kind: cgo.Discrete}, {Selector: "vulkan:1", Kind: cgo.Discrete},
			{Selector: "vulkan:2", Usable: true, Kind: cgo.Software}, {Selector: "vulkan:3", Usable: true, Kind: cgo.Discrete}, {Selector: "cpu", Usable: true, Kind: cgo.CPU}}, nil
	}
	for option, want := range map[string][]string{
		"": {""}, "auto": {"auto"}, "vulkan:0, vulkan:3": {"vulkan:0", "vulkan:3"}, "vulkan:all": {"vulkan:0", "vulkan:3"}, "vulkan:all,cpu": {"vulkan:0", "vulkan:3", "cpu"},
	} {
		got, err := selectors(option, devices)
		require.NoError(t, err)
		assert.Equal(t, want, got, option)
	}
	_, err := selectors("vulkan:3,vulkan:all", devices)
	assert.ErrorContains(t, err, "twice")
	_, err = selectors("vulkan:all", func() ([]cgo.DeviceInfo, error) { return nil, nil })
	assert.ErrorIs(t, err, cgo.NoDevice)
}

func TestSharedDevice(t *testing.T) {
	var lines [2]int
	open := func(i int) *deviceUser {
		d, err := acquire(cgo.Options{Selector: "cpu", Threads: 1, Log: func(cgo.LogLevel, string) { lines[i]++ }})
		require.NoError(t, err)
		return d
	}
	a, b := open(0), open(1)
	assert.Same(t, a.sharedDevice, b.sharedDevice)
	a.log(cgo.Info, "a line")
	a.Close()
	a.Close() // once
	b.log(cgo.Info, "another")
	assert.Equal(t, [2]int{1, 2}, lines)
	b.abandon()
	c := open(0)
	assert.NotSame(t, b.sharedDevice, c.sharedDevice, "what was lost is not shared")
	b.Close()
	d := open(0)
	assert.Same(t, c.sharedDevice, d.sharedDevice)
	c.Close()
	d.Close()
	assert.NotContains(t, shared.devices, d.key)
}

// While one device is opened, another one's lines come all the same: its models may hold what the opening waits for.
func TestLinesDoNotWaitForAnOpening(t *testing.T) {
	came := make(chan struct{})
	u := &deviceUser{}
	d := &sharedDevice{logs: map[*deviceUser]func(cgo.LogLevel, string){u: func(cgo.LogLevel, string) { close(came) }}}
	shared.Lock()
	defer shared.Unlock()
	go d.log(cgo.Info, "a kernel is tested")
	select {
	case <-came:
	case <-time.After(10 * time.Second):
		t.Fatal("the line waits for the opening")
	}
}

// A log handler may ask how the model is.
func TestWarningAsksHealth(t *testing.T) {
	var s *site
	var asked atomic.Int32
	s = newSite(&fakeMachine{fails: []error{errLost}}, func() (machine, error) { return nil, errors.New("gone for good") }, func(string) {
		s.health()
		asked.Add(1)
	})
	p, err := s.program(fakeDesc)
	require.NoError(t, err)
	w := fakeWork(t, 2)
	done := make(chan error, 2)
	go func() { done <- p.Do(w); done <- p.Do(w); s.close() }()
	for range 2 {
		select {
		case err := <-done:
			require.Error(t, err)
		case <-time.After(10 * time.Second):
			t.Fatal("it hangs")
		}
	}
	assert.EqualValues(t, 2, asked.Load())
}

// Two devices are lost at the same time: they load the model again from the same files.
func TestReopenTogether(t *testing.T) {
	p, err := planRandom(mustConfig(t), Options{})
	require.NoError(t, err)
	var group sync.WaitGroup
	for _, name := range []string{"cpu", "reference"} {
		group.Add(1)
		go func() {
			defer group.Done()
			m, err := p.reopenBoard(name, Options{})
			if assert.NoError(t, err) {
				m.Close()
			}
		}()
	}
	group.Wait()
}

// A device that has something to say while it is opened, and nobody who listens.
func TestSharedDeviceUnheard(t *testing.T) {
	dir := t.TempDir()
	devices, err := cgo.Devices(dir)
	require.NoError(t, err)
	i := slices.IndexFunc(devices, func(d cgo.DeviceInfo) bool { return d.Usable && d.Kind == cgo.Software })
	if i < 0 {
		testmodel.Missing(t, "there is no software Vulkan")
	}
	o := Options{Device: devices[i].Selector, CacheDir: dir}
	e, err := OpenRandom(context.Background(), mustConfig(t), o)
	require.NoError(t, err)
	e.Close()
	files, err := filepath.Glob(filepath.Join(dir, "*.bin"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		require.NoError(t, os.WriteFile(file, []byte("damaged"), 0o600))
	}
	opened := make(chan error, 1)
	go func() {
		d, err := acquire(cgo.Options{Selector: o.Device, CacheDir: dir})
		if err == nil {
			d.Close()
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		require.NoError(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("it hangs")
	}
}

// While a program is made, another runs; a loss waits for it, and it is made again too.
func TestProgramIsMadeBeside(t *testing.T) {
	first, second := &fakeMachine{}, &fakeMachine{}
	s, p, _ := fakeSite(t, first, second, nil)
	first.slow = make(chan struct{})
	w := fakeWork(t, 2)
	made := make(chan *siteProgram)
	go func() {
		p, err := s.program(fakeDesc)
		assert.NoError(t, err)
		made <- p
	}()
	until(t, "it is being made", func() bool { s.mutex.Lock(); defer s.mutex.Unlock(); return s.making == 1 })
	require.NoError(t, p.Do(w))
	first.fails = []error{errLost}
	require.ErrorIs(t, p.Do(w), cgo.DeviceLost)
	close(first.slow)
	other := <-made
	require.NoError(t, other.Do(w))
	require.NoError(t, p.Do(w))
	assert.True(t, first.closed && first.open == 0 && second.open == 2 && second.runs == 2)
	s.drop(other)
	assert.Equal(t, 1, second.open)
	s.close()
	assert.Zero(t, second.open)
}

// The tests of kernels that come with a program may lose the device: it is made once more on the rebuilt one, and what there was goes on.
func TestLostInTheMaking(t *testing.T) {
	first, second := &fakeMachine{makes: []error{nil, errLost}}, &fakeMachine{}
	s, p, warned := fakeSite(t, first, second, nil)
	other, err := s.program(fakeDesc)
	require.NoError(t, err)
	w := fakeWork(t, 2)
	require.NoError(t, other.Do(w))
	require.NoError(t, p.Do(w))
	assert.True(t, first.lost && first.closed && first.open == 0 && second.open == 2)
	assert.Len(t, warned(), 1)
	second.makes = []error{errLost}
	_, err = s.program(fakeDesc)
	require.ErrorIs(t, err, cgo.DeviceLost)
	require.ErrorContains(t, err, "second time")
	require.ErrorIs(t, p.Do(w), cgo.DeviceLost, "a second loss stays")
	s.close()
	assert.Zero(t, second.open)
}

// A call that has to wait for its program can be cancelled, and one that could not be made is made for the next call.
func TestProgramOfTask(t *testing.T) {
	e, err := OpenRandom(context.Background(), mustConfig(t), Options{Device: "cpu"})
	require.NoError(t, err)
	defer e.Close()
	e.arch.variants["task"] = e.arch.program()
	seqs := []Sequence{{IDs: []int32{1, 2, 3}}}
	s := e.sites[0]
	s.mutex.Lock() // as if it took long
	ctx, cancel := context.WithCancel(context.Background())
	call := make(chan error, 1)
	go func() {
		_, err := e.EmbedTask(ctx, "task", seqs)
		call <- err
	}()
	cancel()
	select {
	case err := <-call:
		require.ErrorIs(t, err, context.Canceled)
	case <-time.After(10 * time.Second):
		t.Error("it waits")
	}
	s.err = errMemory
	s.mutex.Unlock()
	_, err = e.EmbedTask(context.Background(), "task", seqs)
	require.ErrorIs(t, err, cgo.OutOfDeviceMemory)
	s.mutex.Lock()
	s.err = nil
	s.mutex.Unlock()
	_, err = e.EmbedTask(context.Background(), "task", seqs)
	require.NoError(t, err)
	_, err = e.EmbedTask(context.Background(), "none", seqs)
	require.ErrorIs(t, err, ErrInput)
}

// While one device is opened, others that are lost meanwhile say so: who asks does not wait for the opening.
func TestHealthDoesNotWaitForAnOpening(t *testing.T) {
	opening, failed := make(chan struct{}), make(chan error)
	s := newSite(&fakeMachine{fails: []error{errLost}, busy: opening}, func() (machine, error) { return &fakeMachine{}, nil }, func(string) {})
	p, err := s.program(fakeDesc)
	require.NoError(t, err)
	w := fakeWork(t, 2)
	go func() { failed <- p.Do(w) }()
	require.Eventually(t, func() bool { return s.health() != nil }, 10*time.Second, time.Millisecond)
	close(opening)
	require.ErrorIs(t, <-failed, cgo.DeviceLost)
	require.NoError(t, p.Do(w))
	s.close()
}

// A call that could do its batch itself does not while the device is opened again, for then it could not end with its context.
func TestCancelledDuringARebuild(t *testing.T) {
	hold := make(chan struct{})
	s := newSite(&fakeMachine{fails: []error{nil, errLost}}, func() (machine, error) { <-hold; return &fakeMachine{}, nil }, func(string) {})
	p, err := s.program(fakeDesc)
	require.NoError(t, err)
	q := newQueue(cgo.Value{Scope: cgo.PerSequence, Width: 1}, nil, 1024, 64, 0)
	require.NoError(t, q.addLane(&replica{programs: []*siteProgram{p}}, 1, newBudget(1024, true, "", "")))
	_, err = q.run(context.Background(), 0, numbered(1, firstTrial))
	require.NoError(t, err)
	_, err = q.run(context.Background(), 0, numbered(1, firstTrial))
	require.ErrorIs(t, err, cgo.DeviceLost)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := q.run(ctx, 0, numbered(1, firstTrial))
		ended <- err
	}()
	select {
	case err := <-ended:
		require.ErrorIs(t, err, context.DeadlineExceeded)
	case <-time.After(10 * time.Second):
		t.Error("it waits for the device")
	}
	close(hold)
	q.close()
	s.close()
}
