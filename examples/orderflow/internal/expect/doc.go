// Package expect works out what has to become of traffic, on its own: by a model
// small enough to be checked by reading, which shares no code with the
// framework. It knows no batches, no workers, no crashes and no database, and
// that is the point: none of them may make a difference.
package expect
