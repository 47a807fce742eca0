package show

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

const (
	progressAfter = time.Second            // shorter work shows none
	progressEvery = 100 * time.Millisecond // it is drawn again
	progressWidth = 30                     // characters
)

// A Progress shows on a terminal how far work that takes long has come. The
// zero Progress shows nothing.
type Progress struct {
	w     io.Writer // nil: nobody watches
	now   func() time.Time
	began time.Time
	drawn time.Time // the latest time; zero: there is nothing to clear
}

// Progress returns one that draws on stderr if that is a terminal, and nothing
// with -json.
func (s *Stage) Progress() *Progress {
	if s.JSON {
		return &Progress{}
	}
	return newProgress(s.Stderr)
}

// newProgress returns one that draws on w if w is a terminal.
func newProgress(w io.Writer) *Progress {
	if !isTerminal(w) {
		return &Progress{}
	}
	return &Progress{w: w, now: time.Now, began: time.Now()}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	stat, err := f.Stat()
	return err == nil && stat.Mode()&os.ModeCharDevice != 0
}

// Show draws a bar of done out of total records.
func (p *Progress) Show(what string, done, total int) {
	if p.w == nil {
		return
	}
	now := p.now()
	if now.Sub(p.began) < progressAfter || now.Sub(p.drawn) < progressEvery {
		return
	}
	p.drawn = now
	full := min(progressWidth, progressWidth*done/total)
	fmt.Fprintf(p.w, "\r%-6s [%s%s] %d of %d records", what,
		strings.Repeat("#", full), strings.Repeat(" ", progressWidth-full), done, total)
}

// Clear takes the bar away.
func (p *Progress) Clear() {
	if !p.drawn.IsZero() {
		fmt.Fprintf(p.w, "\r%79s\r", "")
		p.drawn = time.Time{}
	}
}
