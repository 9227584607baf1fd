// Package traffic generates the benchmark's events and records, and decodes
// them for all contenders.
package traffic
