// Command bench measures what a worker of Pawl takes for a record, beside what
// one would do without it, and beside what PostgreSQL and Kafka alone allow. See
// README.md.
package main
