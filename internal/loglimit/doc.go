// Package loglimit keeps repeated lines from flooding a log.
package loglimit
