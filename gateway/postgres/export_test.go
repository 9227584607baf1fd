package postgres

// SweepSQL is the statement of a sweep in schema pawl.
const SweepSQL = sweepSQL
