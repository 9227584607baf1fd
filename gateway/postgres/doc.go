// Package postgres is a backend of package gateway that keeps responses in PostgreSQL.
package postgres
