package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/pawl-go/pawl/replay"
)

// A bar shows how far a replay is: as a bar on a terminal, and otherwise as a line every ten
// seconds.
type bar struct {
	to         io.Writer
	isTerminal bool
	shown      time.Time
	drawn      bool
}

const (
	barWidth  = 30
	lineEvery = 10 * time.Second
)

func newBar(to io.Writer) *bar {
	b := &bar{to: to, shown: time.Now()}
	if file, ok := to.(*os.File); ok {
		info, err := file.Stat()
		b.isTerminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return b
}

func (b *bar) show(p replay.Progress) {
	if !b.isTerminal && time.Since(b.shown) < lineEvery {
		return
	}
	b.shown = time.Now()
	share := 1.0
	if p.Total > 0 {
		share = float64(p.Done) / float64(p.Total)
	}
	text := fmt.Sprintf("%s %3.0f %% (%d of %d)", p.Step, 100*share, p.Done, p.Total)
	if p.PerSecond > 0 {
		text += fmt.Sprintf(", %.0f/s, %v left", p.PerSecond, p.Left.Round(time.Second))
	}
	if !b.isTerminal {
		_, _ = fmt.Fprintln(b.to, text)
		return
	}
	b.drawn = true
	full := int(share * barWidth)
	_, _ = fmt.Fprintf(b.to, "\r\x1b[K[%s%s] %s", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), text)
}

// end leaves the line of the bar.
func (b *bar) end() {
	if b.drawn {
		_, _ = fmt.Fprintln(b.to)
	}
}
