// Package traffic makes up the traffic of a shop: what becomes of a number of
// orders, told by records for a topic, with the faults of real life among them.
// The same seed makes the same traffic.
package traffic
