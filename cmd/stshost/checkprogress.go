package main

import (
	"io"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress is a bar for people who wait; nil is none.
type progress struct {
	container *mpb.Progress
	bar       *mpb.Bar
}

// progress shows a bar on standard error if that is a terminal, but not where
// lines of JSON would run into it.
func (c *checker) progress(total int) *progress {
	if !terminal(c.errOut) || c.format == formatJSON && terminal(c.out) {
		return nil
	}
	return newProgress(c.errOut, total)
}

func newProgress(w io.Writer, total int, opts ...mpb.ContainerOption) *progress {
	container := mpb.New(append(opts, mpb.WithOutput(w))...)
	bar := container.AddBar(int64(total), mpb.BarWidth(40), mpb.BarRemoveOnComplete(),
		mpb.AppendDecorators(decor.CountersNoUnit("%d of %d domains")))
	return &progress{container, bar}
}

func (p *progress) step() {
	if p != nil {
		p.bar.Increment()
	}
}

// end takes the bar away, be it full or not.
func (p *progress) end() {
	if p != nil {
		p.bar.Abort(true)
		p.container.Wait()
	}
}
