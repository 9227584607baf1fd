package demo

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// A narrator prints what the demo is doing, in a line with a label.
type narrator func(label, format string, args ...any)

// A screen prints progress. With --json it prints to standard error, so that
// standard output contains only the JSON.
type screen struct {
	out    io.Writer
	stderr io.Writer
	live   bool // standard error is a terminal, so show a progress bar

	mu  sync.Mutex // guards the fields below, and writing
	bar *progressbar.ProgressBar
}

func newScreen(cfg Config) *screen {
	s := &screen{out: cfg.Stdout, stderr: cfg.Stderr, live: isTerminal(cfg.Stdout) && isTerminal(cfg.Stderr)}
	if cfg.JSON {
		s.out, s.live = cfg.Stderr, false
	}
	return s
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// labelWidth is the width of the column of labels.
const labelWidth = 12

func (s *screen) say(label, format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n"+strings.Repeat(" ", labelWidth))
	s.write(s.out, fmt.Appendf(nil, "%-*s%s\n", labelWidth, label, text))
}

// write hides the progress bar and writes a line.
func (s *screen) write(w io.Writer, line []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar != nil {
		_ = s.bar.Clear() // ignore a bar that cannot be drawn
	}
	_, _ = w.Write(line) // and a line that cannot be written
}

// logs returns the writer for the workers' logs.
func (s *screen) logs() io.Writer { return logWriter{s} }

type logWriter struct{ screen *screen }

func (l logWriter) Write(line []byte) (int, error) {
	l.screen.write(l.screen.stderr, line)
	return len(line), nil
}

func (s *screen) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(s.logs(), &slog.HandlerOptions{Level: level}))
}

// begin shows a progress bar on a terminal.
func (s *screen) begin(what string, records int) {
	if !s.live {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bar = progressbar.NewOptions(records,
		progressbar.OptionSetWriter(s.stderr),
		progressbar.OptionSetDescription(fmt.Sprintf("%-*s", labelWidth-1, what)),
		progressbar.OptionShowCount(),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetWidth(40),
		progressbar.OptionThrottle(50*time.Millisecond),
		progressbar.OptionClearOnFinish())
}

// show sets the progress bar to a number of records.
func (s *screen) show(records int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar != nil {
		_ = s.bar.Set64(min(records, s.bar.GetMax64()))
	}
}

// end removes the progress bar if there is one.
func (s *screen) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar != nil {
		_ = s.bar.Finish()
		_ = s.bar.Clear()
		s.bar = nil
	}
}

// thousands formats a number with thousands separators: 12,345.
func thousands(n int) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
