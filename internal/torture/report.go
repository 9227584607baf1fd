package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// A summary is the result of a run, printed as JSON on its last line.
type summary struct {
	OK             bool    `json:"ok"`
	Seconds        float64 `json:"seconds"`
	Records        int     `json:"records"` // acknowledged by the broker
	Lost           int     `json:"lost"`
	AppliedTwice   int     `json:"applied_twice"`
	Wrong          int     `json:"wrong"`                 // other violations
	Stuck          int     `json:"stuck"`                 // records without a verdict, or wrongly still parked, after the time to settle
	WorkerFailures int     `json:"worker_failures"`       // workers that exited unexpectedly, or did not stop when told to
	LongestStall   float64 `json:"longest_stall_seconds"` // of a partition with lag, while both servers were up
	Transfers      tally   `json:"transfers"`             // between wallets
	Outputs        outputs `json:"outputs"`               // messages and timers
	Once           once    `json:"once"`                  // messages in transactions, which the outputs count too
	Charges        charges `json:"charges"`               // by a provider, because of jobs
	WorkerKills    int     `json:"worker_kills"`
	Freezes        int     `json:"freezes"`
	PostgresKills  int     `json:"postgres_kills"`
	BrokerKills    int     `json:"broker_kills"`
	Failovers      int     `json:"failovers"` // to a standby
	Restores       int     `json:"restores"`  // of a backup
	OtherFaults    int     `json:"other_faults"`
	Redelivered    int     `json:"redelivered"`        // settled again; a lower bound, because killed workers do not report their last batch
	SettledIn      float64 `json:"settled_in_seconds"` // after the last fault
	Paused         float64 `json:"paused_seconds"`     // without new records for a tenant, because too many were unsettled
}

func (s *summary) count(all []*fault) {
	for _, f := range all {
		switch f.name {
		case workersKilled:
			s.WorkerKills = f.happened
		case workersFrozen:
			s.Freezes = f.happened
		case postgresKilled:
			s.PostgresKills = f.happened
		case brokerKilled:
			s.BrokerKills = f.happened
		case failedOver:
			s.Failovers = f.happened
		case restored:
			s.Restores = f.happened
		default:
			s.OtherFaults += f.happened
		}
	}
}

func (s *summary) print(w io.Writer, all []*fault, violations []string) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name string, value any) { _, _ = fmt.Fprintf(table, "%s\t%v\n", name, value) }
	for _, f := range all {
		line(f.name, f.happened)
	}
	line("", "")
	line("records acknowledged", s.Records)
	line("settled again", s.Redelivered)
	line("settled after the last fault in", seconds1(s.SettledIn))
	line("longest stall of a partition", seconds1(s.LongestStall))
	line("producers paused, because of the lag", seconds1(s.Paused))
	line("", "")
	line("lost", s.Lost)
	line("applied twice", s.AppliedTwice)
	line("otherwise wrong", s.Wrong)
	line("stuck", s.Stuck)
	line("transfers between wallets", fmt.Sprintf("%d accepted, %d refused, %d waiting", s.Transfers.Accepted, s.Transfers.Refused, s.Transfers.Waiting))
	line("  lost, applied twice, otherwise wrong", fmt.Sprintf("%d, %d, %d", s.Transfers.Lost, s.Transfers.AppliedTwice, s.Transfers.Wrong))
	line("  writes of others, lost of them", fmt.Sprintf("%d, %d", s.Transfers.ForeignWrites, s.Transfers.ForeignWritesLost))
	line("messages", fmt.Sprintf("%d, sent again %d, of lost steps %d", s.Outputs.Messages, s.Outputs.Repeated, s.Outputs.Phantoms))
	line("  missing, out of order, with another's ID", fmt.Sprintf("%d, %d, %d", s.Outputs.Missing, s.Outputs.Disordered, s.Outputs.Misnamed))
	line("messages in transactions", fmt.Sprintf("%d in %d, sent again after a loss %d", s.Once.Messages, s.Once.Transactions, s.Once.AfterLoss))
	line("  twice, out of order, of no step", fmt.Sprintf("%d, %d, %d", s.Once.Twice, s.Once.Disordered, s.Once.Unexplained))
	line("timers fired", s.Outputs.Expired)
	line("  early, not at all", fmt.Sprintf("%d, %d", s.Outputs.Early, s.Outputs.NotFired))
	line("charges asked for", fmt.Sprintf("%d, of which the provider declined %d", s.Charges.Asked, s.Charges.Declined))
	line("  calls, questions, of these failed", fmt.Sprintf("%d, %d, %d", s.Charges.Calls, s.Charges.Questions, s.Charges.Faults))
	line("  made again after a loss", s.Charges.AfterLoss)
	line("  missing, twice, not asked for, stuck, otherwise wrong", fmt.Sprintf("%d, %d, %d, %d, %d", s.Charges.Missing, s.Charges.Twice, s.Charges.Unasked, s.Charges.Stuck, s.Charges.Wrong))
	line("workers that failed", s.WorkerFailures)
	_ = table.Flush() // the write of the last line reports errors of w
	for _, violation := range violations {
		_, _ = fmt.Fprintln(w, "violation:", violation)
	}
	_, _ = fmt.Fprintln(w, "\nThe servers ran with the required settings: acks=all, idempotent producer, fsync, full_page_writes,\nsynchronous_commit. A cluster also needs min.insync.replicas=2 and no unclean leader election (docs/guarantees.md).")
	if err := json.NewEncoder(w).Encode(s); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

func seconds1(s float64) string { return fmt.Sprintf("%.1f s", s) }

func inSeconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
