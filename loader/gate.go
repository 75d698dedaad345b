package loader

import (
	"context"
	"runtime"
	"sync"
)

// The tokenizer library takes two to six hundred bytes of memory for each byte of a
// text while it encodes it, however little of it is kept afterwards. That is why
// texts wait for each other, over all tokenizers of the process: short ones never,
// medium ones where many are in the library, and long ones for one another alone, so
// that a page never waits behind a book.
const (
	shortText   = 4 << 10 // bytes at most
	mediumText  = 256 << 10
	mediumRoom  = 2 << 20 // bytes of medium texts that are in the library at a time
	mediumUnits = mediumRoom / shortText
)

var (
	mediumTurn = make(chan struct{}, 1)           // held while units are taken, so that nobody waits with half of them
	mediumBusy = make(chan struct{}, mediumUnits) // units of shortText bytes
)

// longTexts is a thread that encodes one text after another. The C library keeps much
// of what a thread has freed for that thread: 24 texts of 2 MB took 2.3 GB, one at a
// time, when they came to different threads, and 0.8 GB on one.
var longTexts = sync.OnceValue(func() chan<- func() {
	calls := make(chan func())
	go func() {
		runtime.LockOSThread()
		for call := range calls {
			call()
		}
	}()
	return calls
})

// inLibrary calls encode once a text of so many bytes may enter the library, unless
// ctx ends before.
func inLibrary(ctx context.Context, bytes int, encode func()) error {
	switch {
	case bytes <= shortText:
		encode()
		return nil
	case bytes <= mediumText:
		return asMedium(ctx, (bytes-1)/shortText+1, encode)
	}
	done := make(chan struct{})
	select {
	case longTexts() <- func() { defer close(done); encode() }:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-done
	return nil
}

func asMedium(ctx context.Context, units int, encode func()) error {
	if err := take(ctx, mediumTurn, 1); err != nil {
		return err
	}
	err := take(ctx, mediumBusy, units)
	release(mediumTurn, 1)
	if err != nil {
		return err
	}
	defer release(mediumBusy, units)
	encode()
	return nil
}

// take takes n places of a channel, or none.
func take(ctx context.Context, places chan struct{}, n int) error {
	for i := range n {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			release(places, i)
			return ctx.Err()
		}
	}
	return nil
}

func release(places chan struct{}, n int) {
	for range n {
		<-places
	}
}
