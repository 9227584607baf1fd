package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/jobs"
	"github.com/pawl-go/pawl/versioning"
)

// TestEnds checks what the driver makes of the end of an attempt.
func TestEnds(t *testing.T) {
	t.Parallel()
	const result = `, "result": {"changes": [{"event": "succeeded"}]}`
	for name, c := range map[string]struct {
		server string // "" is that of the fetch
		result string
		before string // a statement before the end is stored
		end    rivertype.JobState
		want   string // state, attempt, and whether the job has the result
	}{
		"same server":                        {"", result, "", "completed", "completed 1 false"},
		"same server, no result":             {"", "", "", "retryable", "retryable 1 false"},
		"another server":                     {"other", result, "", "completed", "available 0 true"},
		"another server, refused":            {"other", result, "", "cancelled", "available 0 true"},
		"another server, no result":          {"other", "", "", "retryable", "retryable 1 false"},
		"another server, cancelled":          {"other", "", "", "cancelled", "cancelled 1 false"},
		"same server, to be cancelled":       {"", "", cancel, "retryable", "cancelled 1 false"},
		"another server, to be cancelled":    {"other", "", cancel, "retryable", "cancelled 1 false"},
		"another, to be cancelled, result":   {"other", result, cancel, "completed", "available 0 true"},
		"same server, another attempt":       {"", result, nextAttempt, "completed", "running 2 false"},
		"another server, another attempt":    {"other", result, nextAttempt, "completed", "running 2 false"},
		"another of both, no result":         {"other", "", nextAttempt, "retryable", "running 2 false"},
		"stored again, same server":          {"", result, completed, "completed", "completed 1 false"},
		"stored again, another server":       {"other", result, completed, "completed", "completed 1 false"},
		"stored again, no result":            {"other", "", completed, "retryable", "completed 1 false"},
		"stored again after another fetch":   {"", "", nextAttempt, "retryable", "running 2 false"},
		"another server, was made available": {"other", "", `UPDATE river_job SET state = 'available'`, "retryable", "available 1 false"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, machineWith(place), nil)
			e.place("p1", 1)
			on := jobs.NewDriver(e.pool).GetExecutor()
			row := fetch(e, on)
			if c.before != "" {
				e.exec(c.before)
			}
			server := c.server
			if server == "" {
				server = serverOf(e, row)
			}
			params := endOf(row, c.end, fmt.Sprintf(`{"pawl_end": {"server": %q, "attempt": "%d"%s}, "more": 1}`, server, row.AttemptedAt.UnixMicro(), c.result))
			for range 2 { // River tries again if the answer to the commit is lost
				if _, err := on.JobSetStateIfRunningMany(t.Context(), params); err != nil {
					t.Fatal(err)
				}
			}
			e.want(`SELECT state || ' ' || attempt || ' ' || (metadata ? 'pawl_result')::text FROM river_job`, c.want)
			e.want(`SELECT (metadata ? 'pawl_end')::text FROM river_job`, "false")
		})
	}
}

// Statements of TestEnds.
const (
	cancel      = `UPDATE river_job SET metadata = metadata || '{"cancel_attempted_at": "2026-01-02T03:04:05Z"}'`
	nextAttempt = `UPDATE river_job SET attempted_at = attempted_at + interval '1 microsecond', attempt = 2`
	completed   = `UPDATE river_job SET state = 'completed', finalized_at = now()`
)

// TestEndsOfOthers checks that the ends of jobs that are stored together do not get mixed up.
func TestEndsOfOthers(t *testing.T) {
	t.Parallel()
	e := newEnv(t, machineWith(place), nil)
	on := jobs.NewDriver(e.pool).GetExecutor()
	all := &riverdriver.JobSetStateIfRunningManyParams{}
	for i, state := range []rivertype.JobState{"completed", "retryable", "completed", "cancelled"} {
		e.place(fmt.Sprint("p", i), 1)
		row := fetch(e, on)
		updates := `{}`
		if i == 0 || i == 2 {
			updates = fmt.Sprintf(`{"pawl_end": {"server": "other", "attempt": "%d", "result": {"job": "%d", "changes": []}}}`, row.AttemptedAt.UnixMicro(), i)
		}
		one := endOf(row, state, updates)
		all.ID, all.Attempt, all.ErrData = append(all.ID, one.ID...), append(all.Attempt, one.Attempt...), append(all.ErrData, one.ErrData...)
		all.FinalizedAt, all.ScheduledAt = append(all.FinalizedAt, one.FinalizedAt...), append(all.ScheduledAt, one.ScheduledAt...)
		all.MetadataDoMerge, all.MetadataUpdates = append(all.MetadataDoMerge, one.MetadataDoMerge...), append(all.MetadataUpdates, one.MetadataUpdates...)
		all.State = append(all.State, one.State...)
	}
	rows, err := on.JobSetStateIfRunningMany(t.Context(), all)
	if err != nil || len(rows) != 2 {
		t.Errorf("%d rows, %v, want 2", len(rows), err)
	}
	e.want(`SELECT state || ' ' || coalesce(metadata -> 'pawl_result' ->> 'job', '') FROM river_job ORDER BY id`,
		"available 0", "retryable ", "available 2", "cancelled ")
}

func fetch(e *env, on riverdriver.Executor) *rivertype.JobRow {
	e.Helper()
	got, err := on.JobGetAvailable(e.Context(), &riverdriver.JobGetAvailableParams{ClientID: "c", MaxAttemptedBy: 1, MaxToLock: 1, Queue: "default"})
	if err != nil || len(got.Jobs) != 1 {
		e.Fatalf("fetch: %+v, %v", got, err)
	}
	return got.Jobs[0]
}

// serverOf returns the server from which a job was fetched.
func serverOf(e *env, row *rivertype.JobRow) string {
	e.Helper()
	var metadata struct {
		Server string `json:"pawl_server"`
	}
	if err := json.Unmarshal(row.Metadata, &metadata); err != nil || metadata.Server == "" {
		e.Fatalf("the job has no server: %s, %v", row.Metadata, err)
	}
	return metadata.Server
}

func endOf(row *rivertype.JobRow, state rivertype.JobState, updates string) *riverdriver.JobSetStateIfRunningManyParams {
	now := time.Now()
	params := &riverdriver.JobSetStateIfRunningManyParams{
		ID: []int64{row.ID}, Attempt: make([]*int, 1), ErrData: make([][]byte, 1), FinalizedAt: make([]*time.Time, 1),
		MetadataDoMerge: []bool{true}, MetadataUpdates: [][]byte{[]byte(updates)},
		ScheduledAt: make([]*time.Time, 1), State: []rivertype.JobState{state},
	}
	if state == rivertype.JobStateRetryable {
		params.ScheduledAt[0] = &now
	} else {
		params.FinalizedAt[0] = &now
	}
	return params
}

// TestClosedPool checks that River sees that a pool is closed. It would try again for ever.
func TestClosedPool(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), testenv.Postgres(t, withRiver))
	if err != nil {
		t.Fatal(err)
	}
	pool.Close()
	on := jobs.NewDriver(pool).GetExecutor()
	_, err = on.JobGetAvailable(t.Context(), &riverdriver.JobGetAvailableParams{})
	if !errors.Is(err, riverdriver.ErrClosedPool) {
		t.Errorf("JobGetAvailable: %v", err)
	}
	_, err = on.JobSetStateIfRunningMany(t.Context(), endOf(&rivertype.JobRow{ID: 1}, "completed", `{"pawl_end": {"server": "s", "attempt": "1"}}`))
	if !errors.Is(err, riverdriver.ErrClosedPool) {
		t.Errorf("JobSetStateIfRunningMany: %v", err)
	}
}

// TestLateMark checks that a late attempt of a lost job does not write its mark over that of
// another job, which has got its ID.
func TestLateMark(t *testing.T) {
	t.Parallel()
	e := newEnv(t, machineWith(place), nil)
	b := &bank{}
	running, goOn := make(chan struct{}, 1), make(chan struct{})
	lines := make(chan string, 9)
	work(e, jobs.Handler[Charge]{
		Class: jobs.Once, Provider: &jobs.Provider{Name: "bank", Concurrency: 1}, Logger: slog.New(lineHandler{slog.DiscardHandler, lines}),
		Call: func(_ context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
			if c.Entity.Key == "p2" {
				b.call(c.Key)
			}
			running <- struct{}{}
			<-goOn
			return nil, nil
		},
	})
	e.place("p1", 1)
	<-running
	e.place("p2", 1)
	e.eventually(jobState, "running", "running")
	e.exec(`UPDATE river_job SET attempted_at = attempted_at + interval '1 second', metadata = metadata || '{"output": {"job": "other", "calling_since_attempt": "1"}}' WHERE id = 2`)
	close(goOn)
	select {
	case <-lines: // the late attempt has seen that another one runs
	case <-running:
		t.Error("the late attempt makes the call")
	case <-time.After(20 * time.Second):
		t.Error("the late attempt does nothing")
	}
	e.want(`SELECT metadata -> 'output' ->> 'job' FROM river_job WHERE id = 2`, "other")
	e.exec(`UPDATE river_job SET state = 'completed', finalized_at = now() WHERE id = 2`)
	b.wantCalls(t, 0, 0)
}
