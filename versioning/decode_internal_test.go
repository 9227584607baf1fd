package versioning

import "testing"

// TestDecodeIdentifies checks which headers give a message ID to a change without one.
func TestDecodeIdentifies(t *testing.T) {
	t.Parallel()
	headers := func(pairs ...string) (all []Header) {
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, Header{Key: pairs[i], Value: []byte(pairs[i+1])})
		}
		return all
	}
	for _, c := range []struct {
		headers    []Header
		id, former string
	}{
		{nil, "", ""},
		{headers("ce_id", "1"), "1", ""},
		{headers("ce_id", "1", "ce_source", ""), "1", ""},
		{headers("ce_id", "/orders 1"), " /orders 1", "/orders 1"}, // not that of source /orders
		{headers("ce_source", "/orders"), "", ""},
		{headers("ce_source", "/orders", "ce_id", ""), "", ""},
		{headers("ce_id", "1", "ce_source", "/orders?x=%20#y"), "/orders?x=%20#y 1", "1"},
		{headers("ce_source", "/orders", "ce_id", "1 2", "ce_id", "3", "ce_source", "/other"), "/orders 1 2", "1 2"},
		{headers("ce_source", `my \ shop`, "ce_id", "1"), `my\ \\\ shop 1`, "1"},
	} {
		r := &Record{Headers: c.headers}
		r.Decode(func(*Record) ([]Change, error) { return []Change{{Key: "a"}, {Key: "b", MessageID: "own"}}, nil })
		if a, b := r.Changes[0], r.Changes[1]; a.MessageID != c.id || a.FormerID != c.former || b.MessageID != "own" || b.FormerID != "" {
			t.Errorf("headers %s: %+v and %+v, want the ID %q and formerly %q", c.headers, a, b, c.id, c.former)
		}
	}
}

// TestMessageIDsAreUnique checks that messages with different sources or IDs never get
// the same message ID, whatever characters these contain.
func TestMessageIDsAreUnique(t *testing.T) {
	t.Parallel()
	var texts []string // of one to three characters
	for _, a := range []string{"", " ", `\`, "a"} {
		for _, b := range []string{"", " ", `\`, "a"} {
			for _, c := range []string{" ", `\`, "a"} {
				if a == "" || b != "" {
					texts = append(texts, a+b+c)
				}
			}
		}
	}
	seen := make(map[string][2]string)
	for _, source := range append(texts, "") {
		for _, id := range texts {
			r := &Record{Headers: []Header{{Key: "ce_source", Value: []byte(source)}, {Key: "ce_id", Value: []byte(id)}}}
			got, _ := r.messageID()
			if other, ok := seen[got]; ok {
				t.Fatalf("source and ID %q have the message ID %q of %q", [2]string{source, id}, got, other)
			}
			seen[got] = [2]string{source, id}
		}
	}
	if len(seen) != 40*39 {
		t.Errorf("%d pairs", len(seen))
	}
}
