package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// progress is what a job's metadata says about it and its earlier attempts.
//
// Attempts are told apart by the time at which River gave the job to a worker. River's count
// of attempts does not do: an attempt that is put off, or ends because the client stops, does
// not count.
type progress struct {
	Cause *cause `json:"pawl"`

	// Called is the last attempt that has ended and may have made the call. NotCalled is the
	// last one that marked the call and certainly did not make it.
	Called    string `json:"pawl_called"`
	NotCalled string `json:"pawl_not_called"`

	// NoneCalled counts the attempts, from the first one on, that certainly did not make the
	// call. Class Repeatable has it instead of marks.
	NoneCalled int `json:"pawl_none_called"`

	// Output has the mark that is written before a call. River's UI shows it as the output.
	Output *mark `json:"output"`

	// Result is the result, if the call has one and it could not be applied yet.
	Result *result `json:"pawl_result"`

	// Server names the server from which the attempt has got the job; see [NewDriver].
	Server string `json:"pawl_server"`
}

// Keys of metadata.
const (
	calledKey     = metadataKey + "_called"
	noneCalledKey = metadataKey + "_none_called"
	resultKey     = metadataKey + "_result"
)

// A mark says that an attempt is about to make the call.
type mark struct {
	Key     string    `json:"job,omitempty"`
	Attempt string    `json:"calling_since_attempt"`
	At      time.Time `json:"calling_since"`
}

// progressOf reads a job's metadata.
func progressOf(row *rivertype.JobRow) (*progress, error) {
	p := &progress{}
	if err := json.Unmarshal(row.Metadata, p); err != nil {
		// The output is no mark: it is what a handler has recorded.
		type other struct {
			*progress
			Output json.RawMessage `json:"output"`
		}
		p = &progress{}
		if err := json.Unmarshal(row.Metadata, &other{progress: p}); err != nil {
			return nil, fmt.Errorf("the job's metadata: %w", err)
		}
	}
	if p.Cause == nil || p.Cause.Machine == "" {
		return nil, errors.New("the job's metadata does not say which step enqueued it: insert jobs with Firing.Enqueue")
	}
	p.forgetOthers()
	return p, nil
}

// forgetOthers forgets what is about another job. River names a job by its ID, and a restored
// database gives the IDs of lost jobs to others, so a late attempt of a lost job may write here.
func (p *progress) forgetOthers() {
	key := p.Cause.key()
	if p.Result != nil && p.Result.Key != "" && p.Result.Key != key {
		p.Result = nil
	}
	if p.Output != nil && p.Output.Key != "" && p.Output.Key != key {
		p.Output = nil
	}
}

// called returns the attempt that may have made the call, and roughly when it began, or "" if
// none has.
func (p *progress) called() (attempt string, since time.Time) {
	if p.Called != "" && p.Called != p.NotCalled {
		attempt = p.Called
	}
	if p.Output != nil && p.Output.Attempt != "" && p.Output.Attempt != p.NotCalled {
		attempt = p.Output.Attempt
	}
	if micros, err := strconv.ParseInt(attempt, 10, 64); err == nil {
		since = time.UnixMicro(micros)
		if p.Output != nil && p.Output.Attempt == attempt {
			since = p.Output.At
		}
	}
	return attempt, since
}

// mayHaveCalled reports whether an earlier attempt of a job of class Repeatable may have made
// the call. Such an attempt notes that it did not. One that was killed notes nothing, and counts
// for River.
func (p *progress) mayHaveCalled(attempt int) bool {
	return p.Called != "" || p.NoneCalled < attempt-1
}

// attemptOf identifies an attempt of a job.
func attemptOf(row *rivertype.JobRow) string {
	if row.AttemptedAt == nil {
		return ""
	}
	return strconv.FormatInt(row.AttemptedAt.UnixMicro(), 10)
}

// markCall records durably that the call is about to be made, unless another attempt has
// taken over the job, or another job has got its ID. It takes one round trip.
func markCall(ctx context.Context, row *rivertype.JobRow, key string) error {
	client, err := river.ClientFromContextSafely[pgx.Tx](ctx)
	if err != nil {
		return err
	}
	text, err := json.Marshal(map[string]mark{rivertype.MetadataKeyOutput: {Key: key, Attempt: attemptOf(row), At: time.Now().UTC()}})
	if err != nil {
		return fmt.Errorf("mark the call: %w", err)
	}
	statement := `UPDATE ` + table(client.Schema()) + ` SET metadata = metadata || $2::text::jsonb
		WHERE id = $1 AND state = 'running' AND attempted_at = $3 RETURNING id`
	var id int64
	err = client.Driver().GetExecutor().QueryRow(ctx, statement, row.ID, string(text), row.AttemptedAt).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return errTakenOver
	}
	if err != nil {
		return fmt.Errorf("mark the call: %w", err)
	}
	return nil
}

// runsElsewhere reports whether another attempt of the job runs.
func runsElsewhere(ctx context.Context, row *rivertype.JobRow) (bool, error) {
	client, err := river.ClientFromContextSafely[pgx.Tx](ctx)
	if err != nil {
		return false, err
	}
	now, err := client.JobGet(ctx, row.ID)
	if err != nil {
		return false, err
	}
	return now.State == rivertype.JobStateRunning && attemptOf(now) != attemptOf(row), nil
}

// noteCalled makes River store with the end of this attempt that the call may have been made.
func noteCalled(ctx context.Context, row *rivertype.JobRow) error {
	return river.MetadataSet(ctx, calledKey, attemptOf(row))
}

// noteNotCalled makes River store with the end of this attempt that it did not make the call
// although it has marked it.
func noteNotCalled(ctx context.Context, row *rivertype.JobRow) error {
	return river.MetadataSet(ctx, metadataKey+"_not_called", attemptOf(row))
}

// noteNoneCalled makes River store with the end of this attempt that neither it nor an earlier
// one has made the call.
func noteNoneCalled(ctx context.Context, row *rivertype.JobRow) error {
	return river.MetadataSet(ctx, noneCalledKey, row.Attempt)
}

// noteResult makes River store the result with the end of this attempt.
func noteResult(ctx context.Context, r *result) error {
	return river.MetadataSet(ctx, resultKey, r)
}
