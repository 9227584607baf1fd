// Package testdb makes databases for tests on a PostgreSQL server: empty ones, and copies of a
// template. Packages internal/testenv and pawltest choose the server.
package testdb
