// Package traffic generates the traffic of a payment provider: records about payments,
// accounts and transfers, with realistic faults. The same seed gives the same traffic.
package traffic
