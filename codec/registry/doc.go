// Package registry connects codecs with a schema registry: Confluent's, or another one with the
// same API. Packages avro and protobuf have the codecs.
//
//	reg, err := registry.New(registry.Config{Client: []sr.ClientOpt{sr.URLs("https://registry:8081")}})
//	payments, err := avro.New[Payment](reg, avro.Options{})
//	consumer.Config{Decode: codec.Decode(payments, changes)}
//
// # Which schema a record has
//
// Producers name the schema of a value in one of two ways, and records of both can be decoded,
// also in one topic:
//
//   - The value begins with a zero byte and the schema's ID in 4 bytes.
//   - The header [SchemaHeader] has a byte 1 and the schema's GUID in 16 bytes. The value has no
//     prefix.
//
// In Protobuf, the message index follows the ID or the GUID: it says which message of the file
// the value is.
//
// Messages are encoded in the first way. Their schema has to be known to the registry before:
// call Register of the codec at start, or Lookup if the program may not write to the registry.
//
// # Caching
//
// Each codec fetches a schema once, and keeps up to Config.MaxSchemas of them. A schema never
// changes. So a registry may be down for as long as no new schema occurs, unless a worker starts
// then.
//
// # When the registry is down
//
// If the registry does not answer, or answers something else than a schema registry would, it is
// not the record's fault: decoding returns an error of [versioning.Trouble], and the worker
// retries the record until the registry is back. It is Troubled meanwhile. If the registry
// answers that it does not know a schema ([ErrUnknownSchema]), the record can't be decoded, and
// becomes a dead letter.
//
// # Limits
//
// A response of the registry has at most 16 MiB, a schema at most 100 references, a message index
// at most 100 numbers. What a prefix says about lengths is not believed.
package registry
