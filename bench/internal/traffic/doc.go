// Package traffic makes what the contenders work on: events of entities, the
// records that carry them, and how all contenders decode these.
package traffic
