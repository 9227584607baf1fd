// Package report turns measurements into medians, ratios, a table, a chart and
// one line of JSON.
package report
