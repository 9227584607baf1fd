package promtest

import (
	"encoding/json"
	"fmt"
	"strings"
)

// A query is one line, or several, of a panel.
type query struct{ expr, legend string }

// A panel shows queries over time.
type panel struct {
	title, unit, text string
	queries           []query
}

// A row is a group of panels.
type row struct {
	title  string
	panels []panel
}

// one returns a panel with one query.
func one(title, unit, text, expr, legend string) panel {
	return panel{title, unit, text, []query{{expr, legend}}}
}

// quantiles returns a panel with the median and the 99th percentile of a histogram of the group.
func quantiles(title, unit, text, metric, labels string) panel {
	return quantilesOf(title, unit, text, metric, "$G"+labels)
}

// quantilesOf is like quantiles, for what labels select.
func quantilesOf(title, unit, text, metric, labels string) panel {
	q := func(p float64) query {
		expr := fmt.Sprintf("histogram_quantile(%v, sum by (le) (rate(%s_bucket{%s}[$__rate_interval])))", p, metric, labels)
		return query{expr, fmt.Sprintf("p%v", p*100)}
	}
	return panel{title, unit, text, []query{q(.5), q(.99)}}
}

// rows are the dashboard. $G stands for the selector of the group. Counts that each worker makes in
// the database are the same for all: max, not sum.
var rows = []row{
	{"Records", []panel{
		one("Records by verdict", "cps", "How many records per second got each verdict.",
			"sum by (pawl_verdict) (rate(pawl_records_total{$G}[$__rate_interval]))", "{{pawl_verdict}}"),
		one("Records by machine", "cps", "", "sum by (pawl_machine) (rate(pawl_records_total{$G}[$__rate_interval]))", "{{pawl_machine}}"),
		one("Not applied, by reason", "cps", "Early, rejected and diverged records.",
			`sum by (pawl_verdict, pawl_reason) (rate(pawl_records_total{$G,pawl_reason!=""}[$__rate_interval]))`, "{{pawl_verdict}} {{pawl_reason}}"),
		one("Share of duplicates", "percentunit", "A surge is a sign of producers that retry, or of a group that reads records again.",
			`sum(rate(pawl_records_total{$G,pawl_task="batch",pawl_verdict="duplicate"}[$__rate_interval])) / sum(rate(pawl_records_total{$G,pawl_task="batch"}[$__rate_interval]))`, "duplicates"),
		one("Records by topic", "cps", "", "sum by (messaging_destination_name) (rate(messaging_client_consumed_messages_total{$G}[$__rate_interval]))", "{{messaging_destination_name}}"),
		one("Settled beside batches", "cps", "Parked records, timers and old dead letters.",
			`sum by (pawl_task) (rate(pawl_records_total{$G,pawl_task!="batch"}[$__rate_interval]))`, "{{pawl_task}}"),
	}},
	{"Lag", []panel{
		one("Lag", "short", "Offsets that are not settled.", "sum by (messaging_consumer_group_name) (pawl_lag{$G})", "{{messaging_consumer_group_name}}"),
		one("Age of the lag", "s", "How old the oldest record is that a worker has read and not settled.", "max by (instance) (pawl_lag_age_seconds{$G})", "{{instance}}"),
		one("Standstill", "s", "For how long nothing was settled although there is lag.", "max by (instance) (pawl_stalled_seconds{$G})", "{{instance}}"),
		quantiles("Age of records when they are settled", "s", "Of the oldest record of each batch.", "pawl_record_age_seconds", ""),
		one("Workers by state", "short", "", "sum by (pawl_state) (pawl_worker_state{$G})", "{{pawl_state}}"),
		one("Partitions", "short", "", "sum by (instance) (pawl_partitions{$G})", "{{instance}}"),
	}},
	{"Batches", []panel{
		quantiles("Records per batch", "short", "", "pawl_batch_size", ""),
		quantiles("Time to decode", "s", "", "pawl_decode_duration_seconds", ""),
		quantiles("Time to apply", "s", "In the database, with retries.", "messaging_process_duration_seconds", ""),
		quantiles("Time to commit", "s", "Marks and offsets, in the background.", "messaging_client_operation_duration_seconds", `,messaging_operation_name="commit"`),
		one("Retries by cause", "cps", "Attempts to apply a batch that have failed: the SQLSTATE, or a word.",
			"sum by (error_type) (rate(pawl_retries_total{$G}[$__rate_interval]))", "{{error_type}}"),
		one("Contention", "cps", "Attempts that began again because another writer had changed the rows.",
			"sum by (instance) (rate(pawl_contended_total{$G}[$__rate_interval]))", "{{instance}}"),
	}},
	{"What waits", []panel{
		one("Parked records", "short", "Up to 10,000 of each machine.", "max by (pawl_machine) (pawl_parked{$G})", "{{pawl_machine}}"),
		one("Age of parked records", "s", "Of the oldest one.", "max by (pawl_machine) (pawl_parked_age_seconds{$G})", "{{pawl_machine}}"),
		one("Dead letters", "short", "Up to 10,000 of each machine. Those without a machine can't be decoded.", "max by (pawl_machine) (pawl_dead_letters{$G})", "{{pawl_machine}}"),
		{"Timers", "short", "Overdue timers should be near zero.", []query{
			{`max by (pawl_state) (pawl_timers{$G})`, "{{pawl_state}}"},
		}},
		one("Age of overdue timers", "s", "", "max(pawl_timers_overdue_age_seconds{$G})", "oldest"),
		quantiles("Time of sweeps and timers", "s", "Those that have settled something, or failed.", "pawl_maintenance_duration_seconds", ""),
	}},
	{"Messages of transitions", []panel{
		{"Outbox", "short", "Messages that are not published yet, and those that a broker has refused.", []query{
			{"max(pawl_outbox_messages{$G})", "waiting"}, {"max(pawl_outbox_unsent{$G})", "unsent"},
		}},
		one("Age of the outbox", "s", "Of its oldest message.", "max(pawl_outbox_age_seconds{$G})", "oldest"),
		{"Published", "cps", "", []query{
			{"sum(rate(messaging_client_sent_messages_total{$G}[$__rate_interval]))", "published"},
			{"sum(rate(pawl_relay_refused_total{$G}[$__rate_interval]))", "refused"},
		}},
		{"In flight", "short", "Sent and not acknowledged.", []query{{"sum by (instance) (pawl_relay_in_flight{$G})", "{{instance}}"}}},
		one("Age of what is in flight", "s", "", "max by (instance) (pawl_relay_in_flight_age_seconds{$G})", "{{instance}}"),
		{"Relays", "short", "Relays by state, and the lanes that they hold: 16 together.", []query{
			{"sum by (pawl_state) (pawl_relay_state{$G})", "{{pawl_state}}"}, {"sum(pawl_relay_lanes{$G})", "lanes"},
		}},
	}},
	{"HTTP requests with a key", []panel{ // of all gateways: they belong to no group
		one("Requests by outcome", "cps", "Repeats are replayed. A request whose key is in use is in progress: 409, unless it waits.",
			`sum by (pawl_gateway_backend, pawl_gateway_outcome) (rate(pawl_gateway_duration_seconds_count{pawl_gateway_operation="begin"}[$__rate_interval]))`, "{{pawl_gateway_backend}} {{pawl_gateway_outcome}}"),
		one("Ends of handlers by outcome", "cps", "Responses are stored, or the key is released, as after a 5xx. Of two runs with one key, the second finds it taken. It is unknown what became of a commit whose answer was lost.",
			`sum by (pawl_gateway_backend, pawl_gateway_outcome) (rate(pawl_gateway_duration_seconds_count{pawl_gateway_operation!="begin"}[$__rate_interval]))`, "{{pawl_gateway_backend}} {{pawl_gateway_outcome}}"),
		one("Share of repeats", "percentunit", "A surge is a sign of clients or proxies that retry.",
			`sum(rate(pawl_gateway_duration_seconds_count{pawl_gateway_outcome="replay"}[$__rate_interval])) / sum(rate(pawl_gateway_duration_seconds_count{pawl_gateway_operation="begin"}[$__rate_interval]))`, "repeats"),
		quantilesOf("Time to find a response", "s", "", "pawl_gateway_duration_seconds", `pawl_gateway_outcome="replay"`),
		quantilesOf("Time to lock a key", "s", "", "pawl_gateway_duration_seconds", `pawl_gateway_outcome="run"`),
		quantilesOf("Time to store a response", "s", "With a transaction, also to commit what the handler did.", "pawl_gateway_duration_seconds", `pawl_gateway_outcome="stored"`),
	}},
}

// selectGroup is what $G stands for.
const selectGroup = `messaging_consumer_group_name=~"$group"`

// expressions returns the queries of the dashboard as Grafana has them.
func expressions() (all []string) {
	for _, r := range rows {
		for _, p := range r.panels {
			for _, q := range p.queries {
				all = append(all, strings.ReplaceAll(q.expr, "$G", selectGroup))
			}
		}
	}
	return all
}

type object = map[string]any

// dashboard returns the dashboard as Grafana imports it.
func dashboard() []byte {
	const perRow, width, height = 3, 8, 7
	var panels []object
	y := 0
	for _, r := range rows {
		panels = append(panels, object{"type": "row", "title": r.title, "id": len(panels) + 1, "collapsed": false, "panels": []any{}, "gridPos": object{"h": 1, "w": perRow * width, "x": 0, "y": y}})
		y++
		for i, p := range r.panels {
			at := object{"h": height, "w": width, "x": i % perRow * width, "y": y + i/perRow*height}
			panels = append(panels, p.object(len(panels)+1, at))
		}
		y += (len(r.panels) + perRow - 1) / perRow * height
	}
	text, err := json.MarshalIndent(object{
		"title": "Pawl workers", "uid": "pawl-workers", "tags": []string{"pawl"}, "schemaVersion": 39, "editable": true,
		"refresh": "30s", "time": object{"from": "now-3h", "to": "now"}, "timezone": "browser",
		"templating": object{"list": []object{
			{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
			{
				"name": "group", "label": "Group", "type": "query", "datasource": source(), "refresh": 2, "multi": true, "includeAll": true, "allValue": ".*",
				"query": "label_values(pawl_lag, messaging_consumer_group_name)", "current": object{"text": "All", "value": "$__all"},
			},
		}},
		"panels": panels,
	}, "", "  ")
	if err != nil {
		panic(err) // maps and strings can be encoded
	}
	return append(text, '\n')
}

func source() object { return object{"type": "prometheus", "uid": "${datasource}"} }

func (p panel) object(id int, at object) object {
	var targets []object
	for i, q := range p.queries {
		targets = append(targets, object{
			"refId": string(rune('A' + i)), "datasource": source(), "expr": strings.ReplaceAll(q.expr, "$G", selectGroup), "legendFormat": q.legend, "range": true,
		})
	}
	return object{
		"type": "timeseries", "id": id, "title": p.title, "description": p.text, "datasource": source(), "gridPos": at, "targets": targets,
		"fieldConfig": object{"defaults": object{"unit": p.unit, "min": 0, "custom": object{"fillOpacity": 10, "showPoints": "never"}}, "overrides": []any{}},
		"options":     object{"legend": object{"displayMode": "list", "placement": "bottom"}, "tooltip": object{"mode": "multi"}},
	}
}
