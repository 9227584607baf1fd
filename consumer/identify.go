package consumer

import (
	"strings"

	"github.com/pawl-go/pawl/versioning"
)

const (
	sourceHeader      = "ce_source"
	idHeader          = "ce_id"
	noMessageIDHeader = "-"
)

// identify gives the changes that bring no message ID the one of the record's
// headers, if it has one. which is Config.MessageIDHeader.
func identify(which string, rec *versioning.Record) {
	id, former := messageID(which, rec.Headers)
	if id == "" {
		return
	}
	for i := range rec.Changes {
		if rec.Changes[i].MessageID == "" {
			rec.Changes[i].MessageID, rec.Changes[i].FormerID = id, former
		}
	}
}

// messageID returns the message ID that headers carry, and the one that the history
// of an earlier version knows the message by.
func messageID(which string, headers []versioning.Header) (id, former string) {
	switch which {
	case "":
	case noMessageIDHeader:
		return "", ""
	default:
		return header(headers, which), ""
	}
	id = header(headers, idHeader)
	if id == "" {
		return "", ""
	}
	source := header(headers, sourceHeader)
	if source == "" {
		return id, ""
	}
	return escapeSource.Replace(source) + " " + id, id
}

// escapeSource leaves a source no space but those behind a backslash, so that the
// first other one ends it, whatever follows. It alters no URI reference, which
// CloudEvents wants a source to be: these have neither character.
var escapeSource = strings.NewReplacer(`\`, `\\`, ` `, `\ `)

// header returns the value of the first header with a name, or nothing.
func header(headers []versioning.Header, name string) string {
	for i := range headers {
		if headers[i].Key == name {
			return string(headers[i].Value)
		}
	}
	return ""
}
