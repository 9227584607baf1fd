// Package relay is a placeholder.
package relay
