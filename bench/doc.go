// Command bench measures the cost per record of a Pawl worker, and compares it
// with alternatives and with the limits of PostgreSQL and Kafka. See README.md.
package main
