// Package pawltest tests workers.
package pawltest
