// Package promtest makes the dashboard of module otel, and tests it and the alerts against the
// running example orderflow. It is a module of its own, because Prometheus has many dependencies.
//
// The dashboard, otel/grafana/pawl.json, is generated. To change it, change dashboard.go and run:
//
//	go -C internal/promtest test -run TestDashboardIsGenerated -update
package promtest
