package embedded

import (
	"io"
	"os"
	"strings"
)

// logTail is the number of bytes of the log that an error includes.
const logTail = 4 << 10

// tail returns the end of a log, or "" if it cannot be read: the caller is
// already reporting another error.
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
