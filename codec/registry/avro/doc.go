// Package avro has the codec for values in Avro, whose schemas are in a schema registry. It uses
// github.com/twmb/avro.
//
// A value is decoded with the schema it was written with, which the registry has, into the
// reader's schema, which is that of T, by Avro's rules: fields that only the reader has get their
// default, fields that only the writer has are skipped, numbers are promoted, and aliases count.
// A record whose schema can't be read that way is undecodable.
//
//	type Payment struct {
//		ID     string `avro:"id"`
//		Amount int64  `avro:"amount"`
//		Note   string `avro:"note,default="` // the schema got it later
//	}
//
// The name of the record counts: a topic may have records of several types, and only those with
// T's name are decoded. Options.Name sets it.
package avro
