package versioning

import "slices"

// TraceHeaders returns the keys of the headers that carry a trace as the W3C defines it. A message
// that gets them from the record that caused it continues the trace of the record's producer.
//
// Only what the record itself says can be passed on: a message must be the same each time its
// record is judged, also after a replay, so it can't name the trace of the batch that the record
// happens to be in. A parked record keeps its headers. Timers have none.
func TraceHeaders() []string { return []string{"traceparent", "tracestate"} }

// passHeaders adds those of a record's headers whose keys are listed to the headers of a message,
// unless the message has one with the key. Of several with one key, the first counts.
func passHeaders(headers []Header, keys []string, r *Record) []Header {
	for _, key := range keys {
		has := func(h Header) bool { return h.Key == key }
		if i := slices.IndexFunc(r.Headers, has); i >= 0 && !slices.ContainsFunc(headers, has) {
			headers = append(headers, r.Headers[i])
		}
	}
	return headers
}
