// Package paymentpb has messages for tests.
package paymentpb

//go:generate protoc --go_out=. --go_opt=paths=source_relative payment.proto
