package redis_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/postgres"
	"github.com/pawl-go/pawl/gateway/redis"
	"github.com/pawl-go/pawl/internal/testenv"
)

// childVariable makes the test program a process that runs one request: it holds the
// addresses of Redis and PostgreSQL.
const childVariable = "PAWL_TEST_PAUSED"

const pausedLease = 600 * time.Millisecond

// child runs one request with the key a. It says when the handler has written, and finishes
// when it reads a line.
func child(addresses string) {
	err := func() error {
		ctx := context.Background()
		redisAddr, url, _ := strings.Cut(addresses, " ")
		client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{redisAddr}, DisableCache: true, ForceSingleClient: true})
		if err != nil {
			return err
		}
		fast, err := redis.Open(ctx, redis.Config{Client: client, Lease: pausedLease})
		if err != nil {
			return err
		}
		pool, err := pgxpool.New(ctx, url)
		if err != nil {
			return err
		}
		decider, err := postgres.Open(ctx, pool, postgres.Config{})
		if err != nil {
			return err
		}
		h, err := redis.NewHybrid(redis.HybridConfig{Redis: fast, Decider: decider})
		if err != nil {
			return err
		}
		run, _, err := h.Begin(ctx, key("a"))
		if err != nil {
			return err
		}
		if err := effect(ctx, run, "a"); err != nil {
			return err
		}
		fmt.Println("written")
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			return err
		}
		return run.Finish(ctx, gateway.Result{Response: []byte("of the child")})
	}()
	fmt.Println("result:", err)
}

// A childProcess is a process that runs child.
type childProcess struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

func startChild(t *testing.T, w *world) *childProcess {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+w.server.Addr+" "+w.pool.Config().ConnString())
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &childProcess{cmd: cmd, stdin: stdin, lines: bufio.NewScanner(stdout)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line := c.line(); line != "written" {
		t.Fatalf("the child says %q", line)
	}
	return c
}

func (c *childProcess) line() string {
	c.lines.Scan()
	return c.lines.Text()
}

func (c *childProcess) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// finish lets the child finish and returns what Finish has returned.
func (c *childProcess) finish(t *testing.T) string {
	t.Helper()
	if _, err := io.WriteString(c.stdin, "\n"); err != nil {
		t.Fatal(err)
	}
	return c.line()
}

// TestPause stops a process for longer than its lease while its handler runs.
func TestPause(t *testing.T) {
	t.Parallel()
	for _, broken := range []bool{false, true} {
		t.Run(fmt.Sprintf("its connection is lost: %t", broken), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			h, _ := w.open(t)
			c := startChild(t, w)
			mustBusy(t, h, "a")
			c.signal(t, syscall.SIGSTOP)
			testenv.Eventually(t, 20*time.Second, func() error {
				if n, err := do(t, w.client, "DBSIZE").AsInt64(); n != 0 || err != nil {
					return fmt.Errorf("the lock has not expired: %d keys, %w", n, err)
				}
				return nil
			})
			mustBusy(t, h, "a") // says PostgreSQL
			want := "of the child"
			if broken {
				terminate(t, w)
				var err error
				if want, err = request(t.Context(), h, "a"); err != nil {
					t.Fatal(err)
				}
			}
			c.signal(t, syscall.SIGCONT)
			if got := c.finish(t); (got == "result: <nil>") == broken {
				t.Errorf("the child says %q", got)
			}
			mustBeStored(t, h, "a", want)
			w.mustBeOnce(t, 1)
		})
	}
}
