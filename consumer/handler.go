package consumer

import (
	"encoding/json"
	"net/http"
	"time"
)

// Handler serves the worker's [Health] for probes, as JSON:
//
//   - GET /healthz is 200 before Run is called and while it runs, and 503 once it has
//     returned. It stays 200 while the worker is Troubled, because the worker retries, and
//     a restart would only cause a rebalance.
//   - GET /readyz is 200 while the worker is a member of its group and makes progress if
//     there is lag, and 503 otherwise.
//
// The answers contain error texts, which name hosts and tables, so do not expose them.
func (w *Worker) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", w.serveHealth(Health.Live))
	mux.HandleFunc("GET /readyz", w.serveHealth(Health.Ready))
	return mux
}

func (w *Worker) serveHealth(ok func(Health) bool) http.HandlerFunc {
	return func(out http.ResponseWriter, _ *http.Request) {
		h := w.Health()
		out.Header().Set("Content-Type", "application/json")
		out.Header().Set("Cache-Control", "no-store")
		if !ok(h) {
			out.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(out).Encode(h) // it fails only if the client has gone
	}
}

// MarshalJSON returns the health as an object with the members state, since, reason,
// partition, error, last_progress, lag, partitions, timers_pending, timers_overdue,
// timers_oldest and timers_at_least: the last four are Health.Timers. It omits empty members,
// except lag and partitions.
func (h Health) MarshalJSON() ([]byte, error) {
	text := ""
	if h.Err != nil {
		text = h.Err.Error()
	}
	return json.Marshal(struct {
		State        HealthState `json:"state"`
		Since        time.Time   `json:"since,omitzero"`
		Reason       string      `json:"reason,omitempty"`
		Partition    string      `json:"partition,omitempty"`
		Error        string      `json:"error,omitempty"`
		LastProgress time.Time   `json:"last_progress,omitzero"`
		Lag          int64       `json:"lag"`
		Partitions   int         `json:"partitions"`
		Pending      int64       `json:"timers_pending,omitempty"`
		Overdue      int64       `json:"timers_overdue,omitempty"`
		Oldest       time.Time   `json:"timers_oldest,omitzero"`
		AtLeast      bool        `json:"timers_at_least,omitempty"`
	}{
		h.State, h.Since, h.Reason, h.Partition, text, h.LastProgress, h.Lag, h.Partitions,
		h.Timers.Pending, h.Timers.Overdue, h.Timers.Oldest, h.Timers.AtLeast,
	})
}
