package embedded

import (
	"io"
	"os"
	"strings"
)

// logTail is how much of a log an error carries.
const logTail = 4 << 10

// tail returns the end of a log. A log that cannot be read counts as empty:
// it is wanted for an error that is reported anyway.
func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > logTail {
		if _, err := f.Seek(-logTail, io.SeekEnd); err != nil {
			return ""
		}
	}
	end, err := io.ReadAll(io.LimitReader(f, logTail))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(end))
}
