// Package codec has the codecs for the values of records: JSON and CloudEvents here, and Avro and
// Protobuf with a schema registry in the module codec/registry.
//
// A [Codec] works in both directions. [Decode] makes a worker's decode function of one:
//
//	payments := codec.JSON[Payment]()
//	consumer.Config{Decode: codec.Decode(payments, changes)}
//
// changes gets the decoded value and says what the record asks for. [Encode] makes of one or
// more codecs what a table's Encode field takes, for the messages that actions emit:
//
//	postgres.Table{Encode: codec.Encode(codec.For(ledger))}
//
// # CloudEvents
//
// [CloudEvents] decodes the envelope of CloudEvents' Kafka binding, in both of its modes, and
// leaves the data to another codec. In the binary mode, the attributes are headers and the value
// is the data. In the structured mode, the value is a JSON object with attributes and data. The
// header content-type says which it is.
//
// Pawl's own messages are CloudEvents in the binary mode, whatever their codec. The message ID of
// a change comes from the attributes source and id in both modes, so it is the same if a producer
// changes the mode.
//
// # Errors
//
// An error of a codec is a verdict: the record is undecodable, and becomes a dead letter with
// the error's text. A codec that needs a service returns an error of [versioning.Trouble] while
// that does not answer; the worker then retries the record. The codecs of this package need
// none. They do not keep the record or parts of it, and what they return shares no memory with it.
//
// # Limits
//
// What a codec allocates is in proportion to the value that it decodes, and a value is limited by
// the size of a batch in Kafka. A CloudEvent has at most [MaxExtensions] extension attributes.
package codec
