package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
)

// progress is a bar on standard error, where that is a terminal; nil, which may be used as well, where it is not.
type progress struct{ bar *progressbar.ProgressBar }

// newProgress starts a bar; total is -1 if it is not known, and in bytes or in texts.
func newProgress(cmd *cobra.Command, total int64, bytes bool, description string) *progress {
	return newBar(cmd, total, bytes, "texts", description)
}

// newSpinner starts a count of files whose end is not known.
func newSpinner(cmd *cobra.Command, description string) *progress {
	return newBar(cmd, -1, false, "files", description)
}

func newBar(cmd *cobra.Command, total int64, bytes bool, unit, description string) *progress {
	w := cmd.ErrOrStderr()
	if !isTerminal(w) {
		return nil
	}
	options := []progressbar.Option{
		progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(description), progressbar.OptionThrottle(100 * time.Millisecond),
		progressbar.OptionClearOnFinish(), progressbar.OptionShowCount(), progressbar.OptionFullWidth(), progressbar.OptionSetRenderBlankState(true),
	}
	if bytes {
		options = append(options, progressbar.OptionShowBytes(true))
	} else {
		options = append(options, progressbar.OptionShowIts(), progressbar.OptionSetItsString(unit))
	}
	return &progress{progressbar.NewOptions64(total, options...)}
}

// set moves the bar. A bar that cannot be drawn is no reason to stop.
func (p *progress) set(done int64) {
	if p != nil {
		_ = p.bar.Set64(done)
	}
}

// setTotal says how much there is to do, once that is known.
func (p *progress) setTotal(total int64) {
	if p != nil && p.bar.GetMax64() != total {
		p.bar.ChangeMax64(total)
	}
}

// end takes the bar away.
func (p *progress) end() {
	if p != nil {
		_ = p.bar.Exit()
		_ = p.bar.Clear()
	}
}
