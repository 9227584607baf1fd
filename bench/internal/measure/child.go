package measure

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/pawl-go/pawl/bench/internal/contend"
)

// ChildCommand is the argument that runs this program as a contender; see
// [Child].
const ChildCommand = "contend"

// patience is how long a contender may take.
const patience = 10 * time.Minute

// A line is one line of a contender's standard output.
type line struct {
	Ready  bool            `json:"ready,omitempty"`
	Result *contend.Result `json:"result,omitempty"`
}

// Child runs as a contender: it reads its job from in, and writes to out when
// it is ready and what it measured.
func Child(ctx context.Context, in io.Reader, out io.Writer) error {
	var job contend.Job
	if err := json.NewDecoder(in).Decode(&job); err != nil {
		return fmt.Errorf("read the job: %w", err)
	}
	stop, err := profile(job.Profile)
	if err != nil {
		return err
	}
	lines := json.NewEncoder(out)
	result, err := contend.Run(ctx, job, func() { _ = lines.Encode(line{Ready: true}) })
	if err := errors.Join(err, stop()); err != nil {
		return err
	}
	return lines.Encode(line{Result: &result})
}

// runChild runs a contender in a separate process. It calls whenReady, if not
// nil, once the clock has started.
func runChild(ctx context.Context, job contend.Job, whenReady func() error) (contend.Result, error) {
	result, err := startChild(ctx, job, whenReady)
	if err != nil {
		return contend.Result{}, fmt.Errorf("contender %s: %w", job.Contender, err)
	}
	return result, nil
}

func startChild(ctx context.Context, job contend.Job, whenReady func() error) (result contend.Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	input, err := json.Marshal(job)
	if err != nil {
		return result, err
	}
	program, err := os.Executable()
	if err != nil {
		return result, err
	}
	child := exec.CommandContext(ctx, program, ChildCommand) //nolint:gosec // this program
	child.Stdin, child.Stderr = bytes.NewReader(input), os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		return result, err
	}
	if err := child.Start(); err != nil {
		return result, err
	}
	told := follow(out, whenReady, &result)
	if told != nil {
		cancel()
	}
	if err := child.Wait(); err != nil && told == nil {
		told = err
	}
	return result, told
}

// follow reads a contender's output to the end.
func follow(out io.Reader, whenReady func() error, result *contend.Result) error {
	lines := bufio.NewReader(out)
	for decoder := json.NewDecoder(lines); ; {
		var l line
		switch err := decoder.Decode(&l); {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("read the contender's output: %w", err)
		}
		if l.Ready && whenReady != nil {
			if err := whenReady(); err != nil {
				return err
			}
		}
		if l.Result != nil {
			*result = *l.Result
		}
	}
}
