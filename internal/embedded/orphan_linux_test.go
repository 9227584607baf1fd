package embedded_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pawl-go/pawl/internal/embedded"
)

// alive reports whether a process is running. A zombie does not count.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func awaitGone(t *testing.T, pid int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for alive(pid) {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("process %d is still running", pid)
		}
	}
}

func TestCloseStopsServer(t *testing.T) {
	t.Parallel()
	server := start(t, embedded.PostgresConfig{})
	pid := server.PID()
	if !alive(pid) {
		t.Fatalf("the server's process %d is not running", pid)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if alive(pid) {
		t.Errorf("process %d is still running after Close", pid)
	}
}

func TestServerDiesWithItsParent(t *testing.T) {
	t.Parallel()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentVariable+"=1")
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, readErr := bufio.NewReader(out).ReadString('\n')
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	running := alive(pid)
	_ = parent.Process.Kill()
	_ = parent.Wait() // it was killed
	if err != nil || !running {
		t.Fatalf("the parent printed %q, %v; running: %t", line, readErr, running)
	}
	awaitGone(t, pid)
}

func TestServerDoesNotRunAsRoot(t *testing.T) {
	t.Parallel()
	server := start(t, embedded.PostgresConfig{})
	info, err := os.Stat(fmt.Sprintf("/proc/%d", server.PID()))
	if err != nil {
		t.Fatal(err)
	}
	uid := int(info.Sys().(*syscall.Stat_t).Uid)
	if uid == 0 {
		t.Error("the server runs as root")
	}
	if self := os.Geteuid(); self != 0 && uid != self {
		t.Errorf("the server runs as %d, this process as %d", uid, self)
	}
}
