// Package traffic generates the traffic of a shop: records about a number of
// orders, with realistic faults. The same seed gives the same traffic.
package traffic
