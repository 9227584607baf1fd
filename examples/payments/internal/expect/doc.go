// Package expect computes the expected result of traffic with a model that is small enough
// to check by reading and shares no code with the worker, its machines or the framework. The
// model has no batches, workers, crashes or database, because none of them may change the
// result.
package expect
