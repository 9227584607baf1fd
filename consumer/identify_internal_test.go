package consumer

import (
	"testing"

	"github.com/pawl-go/pawl/versioning"
)

func TestMessageIDs(t *testing.T) {
	t.Parallel()
	headers := func(pairs ...string) (all []versioning.Header) {
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, versioning.Header{Key: pairs[i], Value: []byte(pairs[i+1])})
		}
		return all
	}
	for _, c := range []struct {
		header     string
		headers    []versioning.Header
		id, former string
	}{
		{"", nil, "", ""},
		{"", headers("ce_id", "1"), "1", ""},
		{"", headers("ce_id", "1", "ce_source", ""), "1", ""},
		{"", headers("ce_source", "/orders"), "", ""},
		{"", headers("ce_source", "/orders", "ce_id", ""), "", ""},
		{"", headers("ce_id", "1", "ce_source", "/orders?x=%20#y"), "/orders?x=%20#y 1", "1"},
		{"", headers("ce_source", "/orders", "ce_id", "1 2", "ce_id", "3", "ce_source", "/other"), "/orders 1 2", "1 2"},
		{"", headers("ce_source", `my \ shop`, "ce_id", "1"), `my\ \\\ shop 1`, "1"},
		{"ce_id", headers("ce_source", "/orders", "ce_id", "1"), "1", ""},
		{"x-id", headers("ce_source", "/orders", "ce_id", "1", "x-id", "2"), "2", ""},
		{"-", headers("ce_source", "/orders", "ce_id", "1"), "", ""},
	} {
		if id, former := messageID(c.header, c.headers); id != c.id || former != c.former {
			t.Errorf("header %q, %s: %q and %q, want %q and %q", c.header, c.headers, id, former, c.id, c.former)
		}
		rec := &versioning.Record{Headers: c.headers, Changes: []versioning.Change{{Key: "a"}, {Key: "b", MessageID: "own"}}}
		identify(c.header, rec)
		if a, b := rec.Changes[0], rec.Changes[1]; a.MessageID != c.id || a.FormerID != c.former || b.MessageID != "own" || b.FormerID != "" {
			t.Errorf("header %q, %s: %+v and %+v", c.header, c.headers, a, b)
		}
	}
}

// TestMessageIDsAreUnique checks that two messages of different sources or IDs never
// have one message ID, whatever is in them.
func TestMessageIDsAreUnique(t *testing.T) {
	t.Parallel()
	var texts []string // of one to three letters
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
	for _, source := range texts {
		for _, id := range texts {
			got, _ := messageID("", []versioning.Header{
				{Key: "ce_source", Value: []byte(source)}, {Key: "ce_id", Value: []byte(id)},
			})
			if other, ok := seen[got]; ok {
				t.Fatalf("source and ID %q have the message ID %q of %q", [2]string{source, id}, got, other)
			}
			seen[got] = [2]string{source, id}
		}
	}
	if len(seen) != 39*39 {
		t.Errorf("%d pairs", len(seen))
	}
}
