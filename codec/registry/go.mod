module github.com/pawl-go/pawl/codec/registry

go 1.26.0

replace github.com/pawl-go/pawl => ../..

require (
	github.com/bufbuild/protocompile v0.14.1
	github.com/pawl-go/pawl v0.0.0-00010101000000-000000000000
	github.com/twmb/avro v1.9.1
	github.com/twmb/franz-go/pkg/sr v1.8.0
	google.golang.org/protobuf v1.36.12
)

require github.com/looplab/fsm v1.0.3 // indirect
