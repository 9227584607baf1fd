// Package otel measures and traces Pawl with OpenTelemetry.
//
// An [Observer] is a hook of a worker. It counts the records by verdict, measures batches,
// commits and retries, and makes a span for each batch:
//
//	observer, err := otel.New(otel.Config{Group: "payment-workers", Store: store})
//	worker, err := consumer.New(consumer.Config{
//		Group: "payment-workers",
//		Store: store,
//		Hooks: []consumer.Hook{observer},
//		// ...
//	})
//	err = observer.Watch(worker)   // gauges: lag, state, timers, the worker's relay
//	go observer.Run(ctx)           // counts parked records, dead letters and the outbox
//	err = worker.Run(ctx)
//
// The application chooses the exporters: New takes its providers from Config, or the global
// ones. The page docs/metrics.md of the repository lists each metric with its unit and labels. It
// also describes a dashboard for Grafana and alerts for Prometheus.
//
// # Names
//
// Metrics and attributes that OpenTelemetry's semantic conventions know have the names from there
// (messaging.*, error.type). The conventions for messaging are not stable yet; the names here are
// those of version 1.43. Everything else begins with "pawl.".
//
// # Labels are bounded
//
// No key, entity or message ID is ever a label. Names that come from records, such as those of
// machines, are limited: what exceeds the limit is counted as "other". No metric of an observer
// has more than 1,000 series, whatever the records contain.
//
// # Counting
//
// Most numbers come from hooks, or from what the worker knows anyway: reading a gauge asks
// neither the broker nor the database. Only what waits in the database has to be counted there.
// [Observer.Run] does that at intervals, whether anybody reads the metrics or not, and each query
// reads a limited number of rows (postgres.Store.CountStored). Each worker counts, and all get
// the same numbers: in queries, take the maximum over the workers, not the sum.
//
// # Traces
//
// A batch is one span, named "process" and the topic. It can't be a child of the spans of its
// producers, because it has many. It has links to them instead, up to Config.MaxLinks, from the
// traceparent headers of the records (the W3C's, or what Config.Propagator reads). Only producers
// whose spans are sampled are linked.
//
// A commit of marks and offsets is a separate span, "commit", because it covers the batches of
// some time. It has links to the spans of the batches that have ended since the last one that
// succeeded, up to Config.MaxLinks. A batch that ends while a commit is under way may be covered by
// that one or by the next, and has a link from both.
//
// A parked record keeps its headers. The span of the batch, sweep or redrive that settles it has
// a link to its producer, with the attribute pawl.parked. The context of a batch's span reaches
// the store, so the spans of a tracer for pgx are its children.
//
// A message that a transition emits must be the same each time its record is judged, so it
// can't name the span of a batch. With
// postgres.Table{PassHeaders: versioning.TraceHeaders()} it gets the trace headers of the record
// that caused it: who consumes it links to the producer with which it all began.
//
// # Cost
//
// An observer makes one pass over the outcomes of a batch and calls each instrument a few times
// per batch, not per record. It reads the headers of records only if the span of the batch
// is sampled. Use a sampler that keeps a part of the batches, for example
// trace.ParentBased(trace.TraceIDRatioBased(0.01)).
package otel
